"""Shapes of public models, and what one step of training takes by arithmetic.

The sizes are those of the published configs; the weights are random, and nothing is downloaded.
"""

from dataclasses import dataclass, field
from typing import Any

CHECKPOINTED_BACKWARD = 2.5
"""Products in the backward pass of fused attention for two in its forward pass: it computes the scores again."""


@dataclass(frozen=True)
class Shape:
    """Of a decoder with grouped-query attention and a gated feed-forward.

    Attributes:
        name: What results call it.
        family: Its ``model_type`` in transformers.
        hidden: Size of the hidden states.
        intermediate: Size of the feed-forward.
        layers: Number of blocks.
        heads: Number of attention heads.
        key_value_heads: Number of heads of keys and values.
        head: Size of a head.
        vocabulary: Number of tokens.
        others: More of its config.
    """

    name: str
    family: str
    hidden: int
    intermediate: int
    layers: int
    heads: int
    key_value_heads: int
    head: int
    vocabulary: int
    others: dict[str, Any] = field(default_factory=dict, hash=False)

    def config(self) -> Any:
        """The config of transformers."""
        from transformers import AutoConfig

        return AutoConfig.for_model(
            self.family,
            hidden_size=self.hidden,
            intermediate_size=self.intermediate,
            num_hidden_layers=self.layers,
            num_attention_heads=self.heads,
            num_key_value_heads=self.key_value_heads,
            head_dim=self.head,
            vocab_size=self.vocabulary,
            **self.others,
        )

    @property
    def linears(self) -> dict[str, tuple[int, int]]:
        """The linear maps of a block, each with the number of its inputs and outputs."""
        queries, keys = self.heads * self.head, self.key_value_heads * self.head
        return {
            "q_proj": (self.hidden, queries),
            "k_proj": (self.hidden, keys),
            "v_proj": (self.hidden, keys),
            "o_proj": (queries, self.hidden),
            "gate_proj": (self.hidden, self.intermediate),
            "up_proj": (self.hidden, self.intermediate),
            "down_proj": (self.intermediate, self.hidden),
        }

    def flops(self, sequence: int, rank: int, *, recomputed: bool = False) -> float:
        """Floating-point operations for each token of a step that trains low-rank adapters on all linear maps.

        A frozen map takes two products of ``2 in out``: the outputs and the gradient of the inputs; an adapter takes
        three. Attention is causal: a token sees half of the sequence.

        Args:
            sequence: Tokens of a sequence.
            rank: Of the adapters.
            recomputed: Whether the forward pass of the blocks is computed twice.
        """
        maps = self.layers * sum(2 * inputs * outputs for inputs, outputs in self.linears.values())
        adapters = self.layers * sum(2 * rank * (inputs + outputs) for inputs, outputs in self.linears.values())
        attention = self.layers * 2 * 2 * self.heads * self.head * sequence / 2
        head = 2 * self.hidden * self.vocabulary
        total = 2 * (maps + head) + 3 * adapters + (1 + CHECKPOINTED_BACKWARD) * attention
        return total + (maps + adapters + attention if recomputed else 0)


_LLAMA_3 = {"rope_type": "llama3", "rope_theta": 500000.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
            "original_max_position_embeddings": 8192}  # fmt: skip


def _llama(**rope: Any) -> dict[str, Any]:
    return {
        "rope_parameters": {**_LLAMA_3, **rope},
        "max_position_embeddings": 131072,
        "rms_norm_eps": 1e-5,
        "bos_token_id": 128000,
        "eos_token_id": 128001,
    }


SHAPES = {
    shape.name: shape
    for shape in (
        Shape("llama-3.1-8b", "llama", 4096, 14336, 32, 32, 8, 128, 128256,
              {**_llama(factor=8.0), "tie_word_embeddings": False}),
        Shape("qwen3-8b", "qwen3", 4096, 12288, 36, 32, 8, 128, 151936,
              {"rope_parameters": {"rope_type": "default", "rope_theta": 1e6}, "max_position_embeddings": 40960,
               "rms_norm_eps": 1e-6, "tie_word_embeddings": False}),
        Shape("llama-3.2-1b", "llama", 2048, 8192, 16, 32, 8, 64, 128256,
              {**_llama(factor=32.0), "tie_word_embeddings": True}),
        Shape("llama-3.1-70b", "llama", 8192, 28672, 80, 64, 8, 128, 128256,
              {**_llama(factor=8.0), "tie_word_embeddings": False}),
        Shape("tiny", "llama", 64, 128, 2, 4, 2, 16, 128,
              {"tie_word_embeddings": False, "max_position_embeddings": 512, "bos_token_id": 1, "eos_token_id": 2}),
    )
}  # fmt: skip
"""By name; ``tiny`` is for rehearsals."""
