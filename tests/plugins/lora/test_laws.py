"""The laws, held of LoRA with the settings that compute something else."""

import inarch
from inarch.testing import laws_of

test_rank_stabilised = laws_of(inarch.method("lora", rank=3, rank_stabilised=True), models=["llama"])
test_dora = laws_of(inarch.method("lora", rank=4, dora=True), models=["llama", "gpt2", "bert"])
# Not on Llama: the law on a bfloat16 base compares it with another SVD, of the rounded weights, whose vectors are turned.
test_pissa = laws_of(inarch.method("lora", rank=4, initialisation="pissa"), models=["gpt2", "bert"])
test_plus_on_experts = laws_of(inarch.method("lora", rank=4, learning_rate_ratio=16.0), models=["mixtral"])
