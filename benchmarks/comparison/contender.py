"""The contenders of a suite: every method with its settings or its budget, the references and the control."""

from dataclasses import dataclass, replace
from typing import Any, Literal

from inarch_benchmarks.comparison.suite import MethodEntry, Reference, Suite

Kind = Literal["method", "reference", "control"]
Rates = float | dict[str, float] | None


@dataclass(frozen=True)
class Contender:
    """One row of a comparison.

    Attributes:
        label: What it is called.
        method: Name of the method.
        settings: Of the method, as the suite gives them.
        kind: ``reference`` and ``control`` rows are shown beside the methods.
        rates: Learning rates of the suite; None where it gives none.
        budget: Trained parameters wanted, as the suite says it; None where the method runs as it is set.
        pretrained: Whether it starts from the pretrained base.
        trained: Whether it is trained at all; if not, it is the base as it is, with a head that is not trained.
        tasks: Those it is tried on; none for every task.
    """

    label: str
    method: str
    settings: dict[str, Any]
    kind: Kind
    rates: Rates = None
    budget: int | str | None = None
    pretrained: bool = True
    trained: bool = True
    tasks: tuple[str, ...] = ()

    def rate(self, task: str) -> float | None:
        """The suite's learning rate for a task."""
        return self.rates.get(task) if isinstance(self.rates, dict) else self.rates

    def runs_on(self, task: str) -> bool:
        """Whether it is tried on a task."""
        return not self.tasks or task in self.tasks


def contenders(suite: Suite) -> list[Contender]:
    """Every contender: the references, the methods (once for each budget), and the control."""
    methods = [each for entry in suite.methods for each in _of(entry, suite)]
    first = next(each for each in methods if each.label.startswith(suite.baseline_label))
    control = replace(first, label=f"{first.label}, no pretraining", kind="control", pretrained=False)
    return [*(_reference(name, suite) for name in suite.references), *methods, *([control] if suite.control else [])]


def _of(entry: MethodEntry, suite: Suite) -> list[Contender]:
    plain = Contender(
        entry.called, entry.method, entry.settings, "method", rates=entry.learning_rate, tasks=entry.tasks
    )
    if not suite.budgets or not entry.budgets:
        return [plain]
    return [replace(plain, label=f"{entry.called} @ {budget}", budget=budget) for budget in suite.budgets]


def _reference(name: Reference, suite: Suite) -> Contender:
    trained = name != "zero-shot"
    return Contender(name, name, {}, "reference", suite.reference_rates.get(name), trained=trained)
