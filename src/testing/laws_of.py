"""The laws as tests: three lines in a method author's test file."""

from collections.abc import Callable, Iterable

from .. import api
from ..adapters import Method
from ..errors import InarchError
from .case import Case
from .conformance import cells, finding_of, resolved
from .family import Family
from .laws import Law
from .verdict import Outcome


def laws_of(
    method: str | Method,
    *,
    models: Iterable[str | Family] | None = None,
    laws: Iterable[str | int] | None = None,
) -> Callable[[Law, Family], None]:
    """A test for each law on each model, for pytest to find.

    These are all the lines of a test file::

        from inarch.testing import laws_of
        from inarch_gated import Gated

        test_laws = laws_of(Gated(rank=2))

    A law that is broken fails, one that is held passes, and others are skipped with the reason. A method that none of
    the models accepts fails.

    Args:
        method: A method's name, or a method, which need not be installed.
        models: Names of the kit's families, or families of your own; all of the kit's by default.
        laws: Names or numbers of laws; all of them by default.
    """
    import pytest  # here, since only tests need it

    chosen = resolved(method)
    wanted = cells(models, laws)
    families = list(dict.fromkeys(family for _, family in wanted))

    @pytest.mark.parametrize(
        ("law", "family"), [pytest.param(law, family, id=f"{law.name}-{family.name}") for law, family in wanted]
    )
    def test_law(law: Law, family: Family) -> None:
        finding = finding_of(law, Case(chosen, family))
        if finding.outcome is Outcome.BROKEN:
            raise AssertionError(f"{law.promise}\n{finding.reason}") from finding.error
        if finding.outcome is Outcome.REFUSED and not any(_attaches(chosen, other) for other in families):
            raise AssertionError(f"{chosen.name} attaches to none of the models: {finding.reason}") from finding.error
        if finding.outcome is not Outcome.HELD:
            pytest.skip(f"{finding.outcome.value}: {finding.reason}")

    return test_law


def _attaches(method: Method, family: Family) -> bool:
    try:
        api.plan(family.model(), method)
    except InarchError:
        return False
    return True
