"""``sequence-gpt``: a decoder pretrained on several operations on sequences."""

from functools import cache
from typing import Any, ClassVar

from inarch_benchmarks.comparison.examples import Examples
from inarch_benchmarks.embedded.models.pretrained_model import PretrainedModel
from inarch_benchmarks.embedded.operations import LENGTH, PADDING, VOCABULARY, Row, examples, pretraining_rows, sha256
from inarch_benchmarks.embedded.optimisation import Optimisation


class SequenceGPT(PretrainedModel):
    """A GPT-2 of 0.14 million parameters that does eight operations on five to eight letters.

    Attributes:
        rows: To pretrain on.
        held_out_rows: To measure on.
    """

    name: ClassVar[str] = "sequence-gpt"
    optimisation: ClassVar[Optimisation] = Optimisation(
        learning_rate=3e-3, steps=1200, batch_size=64, weight_decay=0.01
    )
    work: ClassVar[int] = optimisation.steps
    rows: ClassVar[int] = 20_000
    held_out_rows: ClassVar[int] = 500

    def data_fingerprint(self) -> str:
        """The SHA-256 of the rows."""
        return sha256(_drawn(self.rows, self.held_out_rows))

    def network(self) -> Any:
        """A ``GPT2LMHeadModel`` whose output map is its own."""
        from transformers import GPT2Config, GPT2LMHeadModel

        config = GPT2Config(
            vocab_size=VOCABULARY,
            n_positions=LENGTH,
            n_embd=64,
            n_layer=4,
            n_head=4,
            n_inner=128,
            resid_pdrop=0.0,
            embd_pdrop=0.0,
            attn_pdrop=0.0,
            activation_function="gelu",  # one operation, where GPT-2's own approximation is seven
            initializer_range=64**-0.5,
            tie_word_embeddings=False,
            bos_token_id=None,
            eos_token_id=None,
            pad_token_id=PADDING,
        )
        return GPT2LMHeadModel(config)

    def training(self) -> Examples:
        """All rows but the last."""
        return examples(_drawn(self.rows, self.held_out_rows)[: self.rows])

    def held_out(self) -> Examples:
        """The last rows, less those that training has too."""
        rows = _drawn(self.rows, self.held_out_rows)
        seen = {(row.name, row.letters) for row in rows[: self.rows]}
        return examples([row for row in rows[self.rows :] if (row.name, row.letters) not in seen])


@cache
def _drawn(rows: int, held_out: int) -> list[Row]:
    return pretraining_rows(rows + held_out, seed=0)
