"""The laws, held of LoRA with the settings that compute something else."""

import inarch
from inarch.testing import laws_of

test_plain = laws_of(inarch.method("lora", rank=4))
test_rank_stabilised = laws_of(inarch.method("lora", rank=3, rank_stabilised=True), models=["llama", "mixtral"])
test_dora = laws_of(inarch.method("lora", rank=4, dora=True))
# Not on Llama: the law on a bfloat16 base compares it with another SVD, of the rounded weights, whose vectors are turned.
test_pissa = laws_of(
    inarch.method("lora", rank=4, initialisation="pissa"), models=["gpt2", "bert", "t5", "vit", "mixtral"]
)
test_plus = laws_of(inarch.method("lora", rank=4, learning_rate_ratio=16.0), models=["bert", "mixtral"])
