"""The plugin that brings the embedded bases and tasks."""

from typing import Any

import inarch


@inarch.hookimpl
def register_benchmark_models(register: Any) -> None:
    """Bring the bases that are pretrained here."""
    from inarch_benchmarks.embedded.models.glyph_vit import GlyphViT
    from inarch_benchmarks.embedded.models.reader_bert import ReaderBert
    from inarch_benchmarks.embedded.models.sequence_gpt import SequenceGPT
    from inarch_benchmarks.embedded.models.story_bert import StoryBert

    for model in (GlyphViT, StoryBert, SequenceGPT, ReaderBert):
        register(model)


@inarch.hookimpl
def register_benchmark_tasks(register: Any) -> None:
    """Bring the tasks that need no network."""
    from inarch_benchmarks.embedded.tasks.digits import DigitsTask
    from inarch_benchmarks.embedded.tasks.polarity import PolarityTask
    from inarch_benchmarks.embedded.tasks.real_text import RealTextTask
    from inarch_benchmarks.embedded.tasks.sequence import SequenceTask

    for task in (DigitsTask, PolarityTask, SequenceTask, RealTextTask):
        register(task)
