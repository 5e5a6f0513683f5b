"""``inarch doctor``: what this installation is, and whether it is sound."""

import os
import platform
from importlib.metadata import PackageNotFoundError, version

from ..registry import registry
from .output import Json, print_json, print_table

PACKAGES = ("inarch", "torch", "transformers", "peft", "bitsandbytes", "accelerate", "datasets", "safetensors")


def doctor(json: Json = False) -> None:
    """Print versions, devices and the state of the plugins."""
    found = examination()
    if json:
        print_json(found)
    else:
        print_table(("what", "found"), found.items())


def examination() -> dict[str, str]:
    """What is installed here, by name."""
    import torch

    plugins = registry().plugins
    accelerators = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    return {
        "python": f"{platform.python_version()} on {platform.system()} {platform.machine()}",
        "cores": str(os.cpu_count()),
        "accelerators": ", ".join(accelerators) or "none: everything runs on the CPU",
        **{package: _version(package) for package in PACKAGES},
        "plugins": ", ".join(f"{plugin.name} {plugin.state}" for plugin in plugins),
    }


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return f"missing: pip install {package}"
