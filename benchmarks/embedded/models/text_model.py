"""A small BERT of whole words."""

from abc import abstractmethod
from pathlib import Path
from typing import Any, ClassVar

from inarch_benchmarks.embedded.models.pretrained_model import PretrainedModel
from inarch_benchmarks.embedded.vocabulary import Vocabulary


class TextModel(PretrainedModel):
    """A BERT in RoBERTa's form: no pooler, which masked language modelling would leave untrained.

    Attributes:
        length: Words of a text at most, with the marks around it.
    """

    length: ClassVar[int]

    @abstractmethod
    def vocabulary(self) -> Vocabulary:
        """Its words."""

    def config(self, **settings: Any) -> Any:
        """A ``RobertaConfig``."""
        from transformers import RobertaConfig

        return RobertaConfig(
            vocab_size=len(self.vocabulary()),
            hidden_size=64,
            num_hidden_layers=4,
            num_attention_heads=4,
            intermediate_size=128,
            max_position_embeddings=self.length + 2,  # RoBERTa counts positions from 2
            type_vocab_size=1,
            hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0,
            initializer_range=64**-0.5,
            pad_token_id=0,
            bos_token_id=2,
            eos_token_id=3,
            **settings,
        )

    def save_more(self, folder: Path) -> None:
        """Save the tokenizer."""
        self.vocabulary().save(folder)
