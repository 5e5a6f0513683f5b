"""Speed and memory on one GPU, side by side with others: prepared on a CPU machine, run on a GPU machine.

prepare.py       brings along what the GPU machine lacks, as wheels
run.sh           installs that there, and runs the rest
__main__.py      the stages, each of which writes one file of results
cell.py          one measurement, and the files of results
worker.py        runs cells in a process of their own
scale.py         how large everything is: as measured, and as rehearsed on a CPU
shapes.py        shapes of models, and what training them takes by arithmetic
build.py         models of those shapes with random weights, layer by layer
contenders/      who trains: one interface, one file each
parity.py        whether they compute the same
timing.py        tokens a second and memory
breakdown.py     where the time of a step goes
correctness.py, training.py, memory.py, features.py, decoding.py   the stages
table.py         the table of kernels and features in benchmarks/results/README.md
"""
