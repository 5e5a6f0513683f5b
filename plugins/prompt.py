"""Prompt tuning: trained vectors before the embedded tokens (Lester, Al-Rfou, Constant 2021, arXiv:2104.08691)."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, Self

import torch
from torch import Tensor, nn

import inarch
from inarch import Method, PromptAdapter, Site, TargetError


class SoftPrompt(PromptAdapter):
    """``[P; X]``: P is (length, hidden size), X are the embedded tokens of a row."""

    def __init__(self, vectors: Tensor) -> None:
        super().__init__()
        self.vectors = nn.Parameter(vectors)

    def forward(self) -> Tensor:
        """The vectors."""
        return self.vectors


@dataclass(frozen=True, kw_only=True)
class PromptTuning(Method):
    """y = f([P; X]), with the vectors P trained and the model f frozen: further tokens before the embedded ones X.

    Lester et al. 2021, arXiv:2104.08691, section 2. In an encoder-decoder they stand before the encoder's tokens, as
    there; in a model that may pool its first token (BERT), after that one. The answers are at the input's own tokens,
    and padding on either side changes none.

    Attributes:
        length: Number of vectors.
        initialisation: ``vocabulary`` starts each as the embedding of a token drawn from the first ``common`` ones of
            the vocabulary, ``uniform`` between -0.5 and 0.5 (section 3.2 compares the two).
        common: How many tokens are drawn from; the first ones are the most common where a vocabulary is sorted so.
    """

    name = "prompt"
    accepts = ("model",)
    # the paper takes 0.3, with Adafactor (section 3)
    search: ClassVar[Mapping[str, tuple[Any, ...]]] = {"learning_rate": (1e-2, 3e-2, 1e-1, 3e-1)}
    starts_from_base: ClassVar[bool] = False  # every token attends to the prompt, whatever its vectors are

    targets: tuple[str, ...] = ("@model",)
    length: int = 20
    initialisation: Literal["vocabulary", "uniform"] = "vocabulary"
    common: int = 5000

    def __post_init__(self) -> None:
        self.require(self.length >= 1, "length", "it must be at least 1")
        self.require(self.common >= 1, "common", "it must be at least 1")

    def sized(self, size: int) -> Self:
        """With another length."""
        return replace(self, length=size)

    def build(self, site: Site) -> SoftPrompt:
        """The prompt of a model.

        Raises:
            TargetError: The model embeds no tokens.
        """
        embedding = _embedding(site)
        if site.device.type == "meta" or embedding.weight.is_meta:
            return SoftPrompt(torch.empty(self.length, embedding.embedding_dim, device="meta"))
        if self.initialisation == "uniform":
            return SoftPrompt(torch.empty(self.length, embedding.embedding_dim, device=site.device).uniform_(-0.5, 0.5))
        drawn = torch.randint(min(self.common, embedding.num_embeddings), (self.length,))
        with torch.no_grad():
            vectors = embedding(drawn.to(embedding.weight.device))  # called, since some embeddings scale what they give
        return SoftPrompt(vectors.to(site.device, site.dtype, copy=True))


def _embedding(site: Site) -> nn.Embedding:
    try:
        embedding = site.module.get_input_embeddings()  # type: ignore[operator]
    except (AttributeError, NotImplementedError):
        embedding = None
    if not isinstance(embedding, nn.Embedding):
        raise TargetError(
            f"This {type(site.module).__name__} embeds no tokens for a prompt to stand before: choose a method that "
            "adapts its modules, such as lora."
        )
    return embedding


@inarch.hookimpl
def register_methods(register: Any) -> None:
    """Bring prompt tuning."""
    register(PromptTuning)
