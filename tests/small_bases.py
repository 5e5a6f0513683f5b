"""The embedded bases, pretrained for two steps."""

from inarch_benchmarks.embedded.base import Pretraining
from inarch_benchmarks.embedded.glyphs import Alphabet
from inarch_benchmarks.embedded.models.glyph_vit import GlyphViT
from inarch_benchmarks.embedded.models.sequence_gpt import SequenceGPT
from inarch_benchmarks.embedded.models.story_bert import StoryBert
from inarch_benchmarks.embedded.optimisation import Optimisation

SHORT = Optimisation(2e-3, steps=2, batch_size=8)


class SmallGlyphViT(GlyphViT):
    pretraining = Pretraining(Alphabet(classes=10, copies=10), SHORT, held_out=20)
    work = SHORT.steps


class SmallStoryBert(StoryBert):
    optimisation = SHORT
    work = SHORT.steps
    stories = 100
    held_out_stories = 30


class SmallSequenceGPT(SequenceGPT):
    optimisation = SHORT
    work = SHORT.steps
    rows = 100
    held_out_rows = 30


SMALL = {model.name: model for model in (SmallGlyphViT, SmallStoryBert, SmallSequenceGPT)}
