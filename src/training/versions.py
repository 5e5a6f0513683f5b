"""What a run was made with."""

import platform
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version

_DISTRIBUTIONS = ("inarch", "torch", "transformers", "peft", "accelerate", "safetensors", "datasets", "bitsandbytes")


def versions() -> dict[str, str | None]:
    """Versions of Python and of what training stands on (None where not installed), the platform and the date."""
    return {
        "python": platform.python_version(),
        **{name: _version(name) for name in _DISTRIBUTIONS},
        "platform": platform.platform(),
        "device": _device(),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _version(distribution: str) -> str | None:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


def _device() -> str:
    import torch

    return torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
