"""The record of a run: what one JSON file of the store holds."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from inarch_benchmarks.comparison.specification import RunSpecification

VERSION = 1
"""Of the record's form; a store of a newer version is refused."""


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Scored(_Section):
    """A score as JSON types; see ``Score``.

    Attributes:
        metrics: By name.
        rows: Number of examples.
        items: What each example added to the main metric: a string of 0 and 1 where it is right or wrong, else a list;
            empty where the metric is no mean over items.
        slices: The main metric on parts, by name.
    """

    metrics: dict[str, float]
    rows: int
    items: str | list[float] = ""
    slices: dict[str, float] = {}

    @property
    def values(self) -> list[float]:
        """The items as numbers."""
        return [float(item) for item in self.items]


class Parameters(_Section):
    """Numbers of parameters.

    Attributes:
        base: Of the base model, its head included.
        trainable: Trained when training began, the head included; a method that gives ranks back begins at its peak.
        head: Those of the new task head among them.
        effective: Trained ones left when training had ended, the head included.
    """

    base: int
    trainable: int
    head: int
    effective: int

    @property
    def method(self) -> int:
        """Trained parameters without the head, when training began."""
        return self.trainable - self.head


class Memory(_Section):
    """Bytes while training, counted rather than sampled, and the device's own peak.

    Attributes:
        weights: Parameters and buffers of the model with its adapter.
        gradients: Of the trained parameters.
        optimizer: The optimizer's state.
        activations: What one step saves for its backward pass; parameters are not among it.
        device_peak: The most that the device had allocated in any training step; None where it cannot tell (a CPU).
    """

    weights: int
    gradients: int
    optimizer: int
    activations: int
    device_peak: int | None = None

    @property
    def total(self) -> int:
        """The sum of what was counted."""
        return self.weights + self.gradients + self.optimizer + self.activations


class Forgetting(_Section):
    """The base's own loss on held-out general data, in nats an item, before and after."""

    before: float
    after: float


class Curve(_Section):
    """How training went.

    Attributes:
        steps: Steps done at each point.
        loss: Mean training loss since the point before.
        validation_steps: Steps done at each measurement.
        validation: The main metric on validation data.
    """

    steps: list[int] = []
    loss: list[float] = []
    validation_steps: list[int] = []
    validation: list[float] = []


class Seconds(_Section):
    """Times of the run, wall clock. Comparisons of speed have a pass of their own; see ``timing.py``.

    Attributes:
        training: In the training loop, without evaluations.
        step: Median step after the warm-up of the first tenth.
        total: From the first line of the run to the last.
        harness: Of the total, what was spent on neither loading, training, scoring nor forgetting.
    """

    training: float
    step: float
    total: float
    harness: float


class RunRecord(_Section):
    """Everything that is known of one run.

    Attributes:
        version: Of this form.
        id: Name of the specification.
        specification: What was run.
        status: ``finished``; ``diverged`` where the loss was not finite; ``failed`` where an error ended it.
        reason: Why it did not finish, in one line; else empty.
        validation: Score on validation data at the end of training.
        test: Score on test data, for a run whose purpose is the test.
        parameters: Numbers of parameters.
        stored_bytes: Size of the saved adapter, head included.
        memory: Bytes.
        forgetting: Of general knowledge; None where the model has no data of that kind.
        curve: How training went.
        seconds: Times.
        contended: Whether the run's processor time was far below its wall time: something else was running.
        software: Versions by distribution.
        hardware: Processor, cores, memory, device.
        revision: Commit of the code, with ``+`` where files were changed; empty where there is none.
        date: When it ended, UTC, ISO 8601.
    """

    version: int = VERSION
    id: str
    specification: RunSpecification
    status: Literal["finished", "diverged", "failed"]
    reason: str = ""
    validation: Scored | None = None
    test: Scored | None = None
    parameters: Parameters | None = None
    stored_bytes: int | None = None
    memory: Memory | None = None
    forgetting: Forgetting | None = None
    curve: Curve = Curve()
    seconds: Seconds | None = None
    contended: bool = False
    software: dict[str, str | None] = {}
    hardware: dict[str, Any] = {}
    revision: str = ""
    date: str = ""
