"""The forward hooks that run the adapters of one base module on its input and its output.

They close over nothing: they find the adapters in the base module's slot. So a ``deepcopy`` or a pickle of the model
carries its own adapters, and ``torch.compile`` sees through them.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from .slot import SLOT


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
