"""Libraries that come with an extra."""

from importlib import import_module
from typing import Any

from inarch import ConfigError


def need(module: str, extra: str) -> Any:
    """An optional library.

    Args:
        module: What is imported.
        extra: The extra of Inarch that installs it.

    Raises:
        ConfigError: It is not installed; the message names the extra.
    """
    try:
        return import_module(module)
    except ImportError as error:
        raise ConfigError(f"This needs {module}, which is not installed: pip install inarch[{extra}].") from error
