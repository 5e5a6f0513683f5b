"""The engine: features started one after the other, each held against the model without them."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import torch
from torch import Tensor, nn

from ..errors import FormatError, PlanError
from ..kernels import supports_fp8
from .activations import keep_input
from .checkpoint_hook import checkpoint_by, checkpointed_blocks, restore
from .checkpoint_plan import CheckpointPlan
from .chunked_loss import ChunkedLoss
from .feature import Declined, Feature
from .fused_products import FusedProducts
from .liger import Liger
from .probe import difference, measure

_KEY = "_inarch_engine"
"""Attribute of a model that an engine runs on."""

TOKENS = 512
"""How many tokens of a sequence features are tried on where memory is scarce."""


@dataclass(frozen=True)
class Outcome:
    """What came of a feature.

    Attributes:
        feature: Its name.
        used: Whether it is in use.
        text: What it does here, or why it is left out.
    """

    feature: str
    used: bool
    text: str

    def __str__(self) -> str:
        return f"{self.feature}: {self.text}" if self.used else f"{self.feature}: left out, {self.text}"


class Engine:
    """The features in use on a model; made by ``engine``.

    Attributes:
        outcomes: What came of each feature.
    """

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self._running: list[Feature] = []
        self.outcomes: tuple[Outcome, ...] = ()

    def report(self) -> str:
        """A line for each feature: what it does here, or why it is left out."""
        return "\n".join(map(str, self.outcomes))

    def stop(self) -> None:
        """Give the model back as it was; a second call does nothing."""
        while self._running:
            self._running.pop().stop(self._model)
        vars(self._model).pop(_KEY, None)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _start(self, features: Sequence[Feature], batch: Mapping[str, Any]) -> None:
        vars(self._model)[_KEY] = self
        dtype, part = _dtype(self._model), part_of(batch)
        with lean(self._model):
            reference = measure(self._model, part)
        for feature in features:
            text = self._try(feature, batch if feature.needs_whole_batch else part)
            if feature in self._running:
                with lean(self._model):
                    after = measure(self._model, part)
                reason = difference(reference, after).reason(dtype)
                if reason:
                    self._running.remove(feature)
                    feature.stop(self._model)
                    text = reason
            self.outcomes += (Outcome(feature.name, feature in self._running, text),)

    def _try(self, feature: Feature, batch: Mapping[str, Any]) -> str:
        try:
            done = feature.start(self._model, batch)
        except Declined as reason:
            return str(reason)
        self._running.append(feature)
        return done


def part_of(batch: Mapping[str, Any]) -> dict[str, Any]:
    """What features are tried on: on a GPU, whose memory a batch without checkpoints may exceed, a part of its row.

    That is the row with the most labels, or the first, and of sequences what ends with its last label.
    """
    tensors = [value for value in batch.values() if isinstance(value, Tensor) and value.dim()]
    if not any(value.is_cuda for value in tensors):
        return dict(batch)
    rows = max(value.shape[0] for value in tensors)
    labels = batch.get("labels")
    sequences = isinstance(labels, Tensor) and labels.dim() > 1
    row, end = _most_labelled(labels) if isinstance(labels, Tensor) and sequences else (0, 0)

    def cut(value: Any) -> Any:
        if not isinstance(value, Tensor) or not value.dim() or value.shape[0] != rows:
            return value
        value = value[row : row + 1]
        is_sequence = value.dim() == 2 and not value.is_floating_point()
        return value[:, max(0, end - TOKENS) : max(end, TOKENS)] if is_sequence else value

    return {name: cut(value) for name, value in batch.items()}


def _most_labelled(labels: Tensor) -> tuple[int, int]:
    """The row with the most labels, and where its last one ends."""
    labelled = labels != -100
    row = int(labelled.flatten(1).sum(1).argmax())
    places = labelled[row].flatten().nonzero()
    return row, int(places.max()) + 1 if len(places) else 0


@contextmanager
def lean(model: nn.Module) -> Iterator[None]:
    """Inside, on a GPU, blocks that nothing checkpoints yet keep their input only."""
    on_gpu = any(parameter.is_cuda for parameter in model.parameters())
    found = checkpointed_blocks(model) if on_gpu else {}
    blocks = [block for block in found.values() if not getattr(block, "gradient_checkpointing", False)]
    before = [checkpoint_by(block, keep_input) for block in blocks]
    try:
        yield
    finally:
        for block, attributes in zip(blocks, before, strict=True):
            restore(block, attributes)


def engine(
    model: nn.Module,
    batch: Mapping[str, Any],
    *,
    memory: int | str | None = None,
    fp8: bool = False,
    features: Sequence[Feature] | None = None,
) -> Engine:
    """Compute the same faster and in less memory, on a model that adapters are attached to.

    Each feature is started and then held against the model without any, by its loss and gradients on ``batch``; one
    that would change them by more than rounding is stopped and left out, and the report says so.

    Args:
        model: The model, on the device it is trained on, with what is to be trained attached.
        batch: An example of what it is trained on, labels included, as large as batches become.
        memory: What training may take: ``24GB``, ``80%`` of the device, or a number of bytes. Without it no
            checkpointing is planned.
        fp8: Whether to multiply maps in four bits in eight bits of floating point, on a GPU that does. That is less
            exact than the base is: it is left out where the loss shows it.
        features: Which to try, in order; all that there are, where none are given.

    Returns:
        A handle with the report, which gives the model back at ``stop()`` or at the end of a ``with`` block.

    Raises:
        FormatError: ``fp8`` is asked for on a device that does not compute in it.
        PlanError: An engine runs on the model already, nothing in it is trained, or no plan fits the memory.
        DataError: The model gives no loss on the batch.
        ConfigError: ``memory`` is no size.
    """
    if _KEY in vars(model):
        raise PlanError("An engine runs on this model already: stop it first.")
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise PlanError("Nothing in this model is trained: attach an adapter first.")
    device = next(model.parameters()).device
    if fp8 and not supports_fp8(device):
        raise FormatError(f"fp8 takes an NVIDIA GPU of compute capability 8.9 or later, and the model is on {device}.")
    chosen = (FusedProducts(fp8=fp8), ChunkedLoss(), Liger(), CheckpointPlan(memory)) if features is None else features
    started = Engine(model)
    try:
        started._start(chosen, batch)
    except BaseException:
        started.stop()
        raise
    return started


def _dtype(model: nn.Module) -> torch.dtype:
    """What the base computes in: the dtype of its largest parameter in floating point."""
    floating = [parameter for parameter in model.parameters() if parameter.is_floating_point()]
    return max(floating, key=torch.Tensor.numel).dtype
