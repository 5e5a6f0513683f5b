"""Checking: every law on every family, and the table of what became of each."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from .. import api
from ..adapters import Method
from ..errors import UnknownNameError, suggestion
from .case import Case
from .families import FAMILIES
from .family import Family
from .laws import LAWS, Law
from .quiet import quiet
from .verdict import Outcome, Verdict


@dataclass(frozen=True)
class Finding:
    """What became of one law on one family.

    Attributes:
        law: The law.
        model: Name of the family.
        outcome: What became of it.
        reason: Why, where it is not just held.
        error: What was raised, for its traceback.
    """

    law: Law
    model: str
    outcome: Outcome
    reason: str = ""
    error: Exception | None = field(default=None, repr=False, compare=False)

    def to_dict(self) -> dict[str, Any]:
        """The finding as JSON types."""
        return {
            "law": self.law.name,
            "number": self.law.number,
            "model": self.model,
            "outcome": self.outcome.value,
            "reason": self.reason,
        }


@dataclass(frozen=True)
class Conformance:
    """What became of every law on every family.

    Attributes:
        method: The method with its settings.
        findings: One for each law and family, law by law.
    """

    method: Method
    findings: tuple[Finding, ...]

    @property
    def broken(self) -> tuple[Finding, ...]:
        """The findings of laws that do not hold."""
        return tuple(finding for finding in self.findings if finding.outcome is Outcome.BROKEN)

    @property
    def attaches(self) -> bool:
        """Whether some law got further than a refusal: a method that every model refuses has shown nothing."""
        return any(finding.outcome is not Outcome.REFUSED for finding in self.findings)

    @property
    def holds(self) -> bool:
        """Whether no law is broken, and something was shown."""
        return self.attaches and not self.broken

    def require(self) -> None:
        """Go on if it holds.

        Raises:
            AssertionError: A law is broken, or the method attaches to none of the models; all of it is said.
        """
        if not self.holds:
            raise AssertionError(str(self))

    def reasons(self) -> Iterator[str]:
        """A line for each reason, the worst first, with the laws and the models that it was given for."""
        grouped: dict[tuple[Outcome, str], list[Finding]] = {}
        for finding in self.findings:
            if finding.reason:
                grouped.setdefault((finding.outcome, finding.reason), []).append(finding)
        worst_first = sorted(grouped.items(), key=lambda item: -list(Outcome).index(item[0][0]))
        every = {finding.law for finding in self.findings}
        for (outcome, reason), findings in worst_first:
            laws = dict.fromkeys(finding.law for finding in findings)
            named = (
                "every law" if len(laws) == len(every) > 1 else ", ".join(f"{law.number} {law.name}" for law in laws)
            )
            models = ", ".join(dict.fromkeys(finding.model for finding in findings))
            yield f"{outcome.value}: {named}, on {models}: {reason}"

    def to_dict(self) -> dict[str, Any]:
        """The result as JSON types."""
        return {
            "method": self.method.name,
            "settings": self.method.to_dict(),
            "holds": self.holds,
            "findings": [finding.to_dict() for finding in self.findings],
        }

    def __str__(self) -> str:
        opening = {
            (True, True): "every law that applies is held",
            (True, False): f"{len(self.broken)} broken",
            (False, True): "it attaches to none of the models, so nothing was shown",
            (False, False): f"{len(self.broken)} broken",
        }[self.attaches, not self.broken]
        return "\n".join([f"{self.method.name}: {opening}", *self.reasons()])


def check(
    method: str | Method,
    *,
    models: Iterable[str | Family] | None = None,
    laws: Iterable[str | int] | None = None,
    watch: Callable[[Finding], None] | None = None,
) -> Conformance:
    """Hold a method to the laws: ``check("lora").require()``.

    Args:
        method: A method's name, or a method, such as ``inarch.method("lora", rank=4)``; it need not be installed.
        models: Names of the kit's families, or families of your own; all of the kit's by default.
        laws: Names or numbers of laws; all of them by default.
        watch: Called with each finding as it is made.

    Raises:
        UnknownNameError: No method, family or law of that name.
    """
    chosen = resolved(method)
    findings = []
    for law, family in cells(models, laws):
        findings.append(finding_of(law, Case(chosen, family)))
        if watch is not None:
            watch(findings[-1])
    return Conformance(chosen, tuple(findings))


def cells(models: Iterable[str | Family] | None, laws: Iterable[str | int] | None) -> list[tuple[Law, Family]]:
    """The chosen laws on the chosen families, law by law.

    Raises:
        UnknownNameError: No family or law of that name.
    """
    families = [_family(model) for model in (FAMILIES if models is None else models)]
    chosen = LAWS if laws is None else [_law(law) for law in laws]
    return [(law, family) for law in chosen for family in families]


def resolved(method: str | Method) -> Method:
    """The method of a name, with its default settings.

    Raises:
        UnknownNameError: There is none.
    """
    return api.method(method) if isinstance(method, str) else method


def finding_of(law: Law, case: Case) -> Finding:
    """What becomes of one law on one case."""
    try:
        with quiet():
            law.hold(case)
    except Verdict as verdict:
        return Finding(law, case.family.name, verdict.outcome, str(verdict), verdict)
    except Exception as error:  # whatever a method raises, it breaks the law
        return Finding(law, case.family.name, Outcome.BROKEN, case.described(error), error)
    return Finding(law, case.family.name, Outcome.HELD)


def _family(model: str | Family) -> Family:
    if isinstance(model, Family):
        return model
    if model not in FAMILIES:
        raise UnknownNameError(f'The conformance kit has no model "{model}": {suggestion(model, FAMILIES)}')
    return FAMILIES[model]


def _law(wanted: str | int) -> Law:
    for law in LAWS:
        if str(wanted) in (law.name, str(law.number)):
            return law
    raise UnknownNameError(f'There is no law "{wanted}": {suggestion(str(wanted), [law.name for law in LAWS])}')
