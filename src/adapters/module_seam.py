"""The module seam: forward hooks that run the adapters of one base module on its input and its output."""

from collections.abc import Callable
from typing import Any

from torch import nn

from .fused_forward import FusedForward
from .input_adapter import InputAdapter
from .module_hooks import run_input_adapters, run_output_adapters
from .output_adapter import OutputAdapter
from .seam import Seam, seam_of
from .site import Site
from .slot import slot_of


class OutputSeam(Seam):
    """After a module: a forward hook; a fused forward looks for the adapters itself."""

    key = "output"
    routes = True

    def open(self, site: Site) -> None:
        """Register the hook."""
        if not isinstance(vars(site.module).get("forward"), FusedForward):
            site.module.register_forward_hook(run_output_adapters, with_kwargs=True)

    def close(self, site: Site) -> None:
        """Remove the hook."""
        _remove_hook(run_output_adapters, site.module._forward_hooks, site.module._forward_hooks_with_kwargs)


class InputSeam(Seam):
    """Before a module: a forward pre-hook."""

    key = "input"
    routes = True

    def open(self, site: Site) -> None:
        """Register the hook."""
        site.module.register_forward_pre_hook(run_input_adapters, with_kwargs=True)

    def close(self, site: Site) -> None:
        """Remove the hook."""
        _remove_hook(run_input_adapters, site.module._forward_pre_hooks, site.module._forward_pre_hooks_with_kwargs)


def can_fuse(module: nn.Module) -> bool:
    """Whether nobody else has hooks on its output, which would then see another, or a forward in its place."""
    return "forward" not in vars(module) and set(module._forward_hooks.values()) <= {run_output_adapters}


def fuse(module: nn.Module, *, fp8: bool = False) -> None:
    """Let a linear map and its adapters be computed in one product, until ``separate``; as ``FusedForward``."""
    _remove_hook(run_output_adapters, module._forward_hooks, module._forward_hooks_with_kwargs)
    vars(module)["forward"] = FusedForward(module, fp8=fp8)


def separate(module: nn.Module) -> None:
    """Undo ``fuse``."""
    del vars(module)["forward"]
    slot = slot_of(module)
    if slot is not None and "output" in slot.switches:
        module.register_forward_hook(run_output_adapters, with_kwargs=True)


def _remove_hook(hook: Callable[..., Any], hooks: dict[int, Any], with_kwargs: dict[int, bool]) -> None:
    for key in [key for key, registered in hooks.items() if registered is hook]:
        del hooks[key]
        with_kwargs.pop(key, None)


_OUTPUT = OutputSeam()
_INPUT = InputSeam()
seam_of.register(OutputAdapter, lambda adapter: _OUTPUT)
seam_of.register(InputAdapter, lambda adapter: _INPUT)
