"""``glyph-vit``: the demo's base, a vision transformer pretrained on drawn glyphs."""

from collections.abc import Callable
from functools import cache
from typing import Any, ClassVar

from torch import nn

from inarch_benchmarks.comparison.examples import Examples
from inarch_benchmarks.comparison.model import Base, BenchmarkModel
from inarch_benchmarks.comparison.quiet import quiet_transformers
from inarch_benchmarks.embedded.base import Pretraining, drawn, parts, pretrained_base
from inarch_benchmarks.embedded.models.general import mean_loss, with_backbone


class GlyphViT(BenchmarkModel):
    """A ViT of 0.14 million parameters that tells 200 invented signs apart; 8 x 8 pixels.

    Attributes:
        pretraining: How it is made.
    """

    name: ClassVar[str] = "glyph-vit"
    pretraining: ClassVar[Pretraining] = Pretraining()
    work: ClassVar[int] = pretraining.optimisation.steps

    def prepare(self, on_step: Callable[[int], None]) -> Base:
        """The base from the cache, or pretrained and put there."""
        stored = pretrained_base(self.pretraining, lambda: on_step(1))
        if stored.origin == "cached":
            on_step(self.work)
        return Base(self.name, str(stored.folder), stored.fingerprint)

    def general_loss(self, base: Base, backbone: nn.Module) -> float:
        """The loss of the classes of glyphs that were held out."""
        model, held_out = _pretrained(base.place, self.pretraining)
        return mean_loss(with_backbone(model, backbone), held_out)


@cache
def _pretrained(place: str, pretraining: Pretraining) -> tuple[Any, Examples]:
    """The network with its head, and the held-out glyphs, loaded once a process."""
    from transformers import ViTForImageClassification

    with quiet_transformers():
        model = ViTForImageClassification.from_pretrained(place, local_files_only=True)
    return model.eval(), parts(pretraining, drawn(pretraining.alphabet))[1]
