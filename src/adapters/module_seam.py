"""The module seam: forward hooks that run the adapters of one base module on its input and its output.

The hooks are functions of this module and close over nothing: they find the adapters in the base module's slot. So a
``deepcopy`` or a pickle of the model carries its own adapters, and ``torch.compile`` sees through them.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from .input_adapter import InputAdapter
from .output_adapter import OutputAdapter
from .seam import Seam, seam_of
from .site import Site
from .slot import SLOT


class OutputSeam(Seam):
    """After a module: a forward hook."""

    key = "output"
    routes = True

    def open(self, site: Site) -> None:
        """Register the hook."""
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


def run_output_adapters(module: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any], output: Any) -> Any:
    """The forward hook: every adapter that is switched on, in order, on the module's first input and output.

    Modules that are called by keyword only, and modules that return a tuple or a list whose first item is the output,
    are known among published models. An adapter is run without ``Module.__call__``, which takes 2 us at each site and
    would only look for hooks on the adapter itself.
    """
    slot: Any = module._modules[SLOT]
    x = args[0] if args else next(iter(kwargs.values()))
    several = isinstance(output, (tuple, list))
    y: Tensor = output[0] if several else output
    if slot.rows is not None:
        y = slot.rows.output(slot, x, y)
    else:
        adapters = slot._modules
        for name, switch in slot.switches["output"].items():
            if switch.on:
                adapted = adapters[name].forward(x, y)
                y = adapted if switch.weight == 1.0 else torch.lerp(y, adapted, switch.weight)
    return type(output)((y, *output[1:])) if several else y


def run_input_adapters(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """The forward pre-hook: every adapter that is switched on, in order, on the module's first input."""
    slot: Any = module._modules[SLOT]
    x: Tensor = args[0] if args else next(iter(kwargs.values()))
    if slot.rows is not None:
        x = slot.rows.input(slot, x)
    else:
        for name, switch in slot.switches["input"].items():
            if switch.on:
                adapted = slot._modules[name].forward(x)
                x = adapted if switch.weight == 1.0 else torch.lerp(x, adapted, switch.weight)
    if args:
        return (x, *args[1:]), kwargs
    return args, {**kwargs, next(iter(kwargs)): x}


def _remove_hook(hook: Callable[..., Any], hooks: dict[int, Any], with_kwargs: dict[int, bool]) -> None:
    for key in [key for key, registered in hooks.items() if registered is hook]:
        del hooks[key]
        with_kwargs.pop(key, None)


_OUTPUT = OutputSeam()
_INPUT = InputSeam()
seam_of.register(OutputAdapter, lambda adapter: _OUTPUT)
seam_of.register(InputAdapter, lambda adapter: _INPUT)
