"""The kernels, in Triton: one file for each operation, imported where there is a GPU, or an interpreter for tests."""
