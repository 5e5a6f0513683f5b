"""The architectures: every model class of transformers' auto mappings, once."""

import copy
import importlib
from collections import defaultdict
from dataclasses import dataclass
from functools import cache
from typing import Any

from torch import Tensor, nn

from inarch_benchmarks.arena.sizes import LABELS

TASKS = {
    "image-text-to-text": "MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES",
    "speech-seq2seq": "MODEL_FOR_SPEECH_SEQ_2_SEQ_MAPPING_NAMES",
    "seq2seq-lm": "MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES",
    "causal-lm": "MODEL_FOR_CAUSAL_LM_MAPPING_NAMES",
    "masked-lm": "MODEL_FOR_MASKED_LM_MAPPING_NAMES",
    "sequence-classification": "MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES",
    "image-classification": "MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES",
    "audio-classification": "MODEL_FOR_AUDIO_CLASSIFICATION_MAPPING_NAMES",
}
"""The mapping of each task; a class in several of them belongs to the first, which is the most particular."""

SETTINGS: dict[str, dict[str, Any]] = {
    "causal-lm": {"is_decoder": True},
    **{task: {"num_labels": LABELS} for task in TASKS if task.endswith("classification")},
}
"""What the config is told of the task."""


@dataclass(frozen=True)
class Entry:
    """One architecture for one task.

    Attributes:
        task: A key of ``TASKS``.
        model_type: The type of its config, as transformers calls it.
        class_name: The model's class.
    """

    task: str
    model_type: str
    class_name: str

    @property
    def key(self) -> str:
        """Its name: ``causal-lm/llama``."""
        return f"{self.task}/{self.model_type}"

    @property
    def model_class(self) -> Any:
        """The class, imported."""
        import transformers

        return getattr(transformers, self.class_name)

    @property
    def config_class(self) -> Any:
        """The class of its config, imported: for a text model that is mapped under a larger one, its own."""
        return self.model_class.config_class

    def config(self) -> Any:
        """A tiny config of this architecture."""
        return copy.deepcopy(_config(self))  # a model may write to its own

    def model(self, seed: int = 0) -> nn.Module:
        """A tiny model with weights drawn from ``seed``, in evaluation mode, in float32 on the CPU."""
        from inarch_benchmarks.arena.tiny import tiny_model

        return tiny_model(self.model_class, self.config(), seed)

    def batch(self, seed: int = 1) -> dict[str, Tensor]:
        """A tiny batch with labels: ``entry.model()(**entry.batch()).loss`` is a finite scalar."""
        from inarch_benchmarks.arena.batch import tiny_batch

        return tiny_batch(self, seed)


@cache
def entries() -> tuple[Entry, ...]:
    """Every architecture, sorted by task and type; a class is there once, whatever it is mapped for."""
    auto = importlib.import_module("transformers.models.auto.modeling_auto")
    found: dict[str, list[Entry]] = defaultdict(list)
    for task, mapping in TASKS.items():
        for model_type, names in getattr(auto, mapping).items():
            name = names if isinstance(names, str) else names[0]  # the others of a tuple are variants for inference
            found[name].append(Entry(task, model_type, name))
    return tuple(sorted((_most_fitting(same) for same in found.values()), key=lambda entry: entry.key))


@cache
def _config(entry: Entry) -> Any:
    from inarch_benchmarks.arena.tiny import tiny_config

    return tiny_config(entry.config_class, **SETTINGS.get(entry.task, {}))


def _most_fitting(same: list[Entry]) -> Entry:
    """Of the entries of one class, one of the first task, of the type that the class is named after."""

    def unlike(entry: Entry) -> bool:
        return not entry.class_name.lower().startswith(entry.model_type.replace("_", "").replace("-", ""))

    return min((entry for entry in same if entry.task == same[0].task), key=unlike)


def main() -> None:
    """Print how many architectures give a finite loss with a gradient, and why the others do not."""
    from rich.console import Console
    from rich.progress import track

    from inarch_benchmarks.arena.arena import contest

    console = Console()
    reasons = {
        entry.key: contest(entry, []).unbuilt for entry in track(entries(), "building", console=Console(stderr=True))
    }
    for key, reason in reasons.items():
        if reason:
            console.print(f"{key}: {reason}", markup=False, soft_wrap=True)
    console.print(f"{sum(not reason for reason in reasons.values())} of {len(reasons)} architectures")


if __name__ == "__main__":
    main()
