"""What the machine itself reaches; measured first, for the shares of it that the training stage tells."""

from typing import Any

from .timing import ceilings
from .worker import Context, Outcome


def measure(settings: dict[str, Any], context: Context) -> Outcome:
    """The rate of a matrix product and of a copy."""
    return dict(ceilings(context.device, context.scale.matrix))
