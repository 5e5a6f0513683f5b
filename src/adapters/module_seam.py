"""The module seam: a forward hook that runs the adapters of one base module on its output.

The hook is a function of this module and closes over nothing: it finds the adapters in the base module's slot. So a
``deepcopy`` or a pickle of the model carries its own adapters, and ``torch.compile`` sees through it.
"""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from .output_adapter import OutputAdapter
from .slot import SLOT, Slot, Switch


def insert(module: nn.Module, name: str, adapter: OutputAdapter, switch: Switch) -> None:
    """Let ``adapter`` run on the output of ``module`` while ``switch`` is on."""
    slot = module._modules.get(SLOT)
    if not isinstance(slot, Slot):
        slot = Slot()
        slot.training = module.training
        module.add_module(SLOT, slot)
        module.register_forward_hook(run_adapters, with_kwargs=True)
    if not module.training:
        adapter.eval()
    slot.put(name, adapter, switch)


def remove(module: nn.Module, name: str) -> None:
    """Undo ``insert``; with the last adapter the slot and the hook go too."""
    slot = module._modules[SLOT]
    assert isinstance(slot, Slot)
    slot.take(name)
    if slot._modules:
        return
    del module._modules[SLOT]
    for key in [key for key, hook in module._forward_hooks.items() if hook is run_adapters]:
        del module._forward_hooks[key]
        module._forward_hooks_with_kwargs.pop(key, None)


def run_adapters(module: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any], output: Any) -> Any:
    """The forward hook: every adapter that is switched on, in order, on the module's first input and output.

    Modules that are called by keyword only, and modules that return a tuple whose first item is the output, are known
    among published models. An adapter is run without ``Module.__call__``, which takes 2 us at each site and would only
    look for hooks on the adapter itself.
    """
    slot: Any = module._modules[SLOT]
    x = args[0] if args else next(iter(kwargs.values()))
    y: Tensor = output[0] if isinstance(output, tuple) else output
    switches = slot.switches
    for name, adapter in slot._modules.items():
        if switches[name].on:
            y = adapter(x, y)
    return (y, *output[1:]) if isinstance(output, tuple) else y
