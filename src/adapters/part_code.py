"""What the code of a module's class does with its parts, read from the bytecode of its methods once a class.

Only what ``forward`` can reach is read: the methods of the class that it names, and the functions of the same file.
"""

import dis
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from inspect import getattr_static
from types import CodeType, FunctionType
from typing import Any

import torch
from torch import nn

from .once import once_a_class

_PARAMETER = "weight"
_ALL_CHILDREN = frozenset({"children", "named_children", "modules", "named_modules", "_modules"})
_ASKED_ONLY = frozenset({"dtype", "device", "shape", "size", "dim", "ndim", "is_cuda", "requires_grad", "numel"})
"""What may be asked of a weight by a model that then calls the module as usual."""


@dataclass(frozen=True)
class PartCode:
    """What the forward pass of one class does.

    Attributes:
        names: Every global, attribute and method that it speaks of.
        used: Dotted names of what it calls, or hands on, below ``self``.
        read: Dotted names of the modules below ``self`` whose weight it reads, or whose hooks it goes around.
        declared: Those that the class itself declares to read, to accelerate.
        has_kernels: Whether a fused kernel is installed for a function it calls, which may take the weights that it
            reads where the code calls modules otherwise.
        goes_around: Whether it calls the ``forward`` of a module that it got from a list, so that no hooks run there.
        has_gradient: Whether it is computed with gradients, rather than under ``torch.no_grad``.
        is_reversible: Whether an ``autograd.Function`` of its own runs the backward pass of its modules, which it does
            only where what comes in has a gradient.
    """

    names: frozenset[str]
    used: frozenset[str]
    read: frozenset[str]
    declared: frozenset[str]
    has_kernels: bool
    goes_around: bool
    has_gradient: bool
    is_reversible: bool

    @property
    def iterates(self) -> bool:
        """Whether it may come upon every child, whatever its name."""
        return not self.names.isdisjoint(_ALL_CHILDREN)

    @property
    def chooses(self) -> bool:
        """Whether it gives the numbers of the rows of a weight that are nearest, and not the rows."""
        return "argmin" in self.names and bool(self.read - self.used)

    @property
    def unheard(self) -> frozenset[str]:
        """The modules whose weight it reads without calling them, or calling them in rare cases only."""
        return self.read - (frozenset() if self.has_kernels else self.used - self.declared)


@once_a_class
def part_code(module_type: type[Any]) -> PartCode:
    """What the forward pass of ``module_type`` does."""
    names: set[str] = set()
    used: set[str] = set()
    read: set[str] = set()
    has_kernels = goes_around = is_reversible = False
    for function, own in _reached(module_type):
        has_kernels |= _closure(function).get("is_new_implementation") is True
        for code in _codes(function.__code__):
            names.update(code.co_names)
            is_reversible |= any(_runs_backward(function.__globals__.get(name)) for name in code.co_names)
            for chain in _chains(code) if own else ():
                if chain[0] == own:
                    _sort(chain[1:], used, read)
                goes_around |= chain[0] != own and chain[1:] == ["forward"]
    forward = module_type.forward
    has_gradient = not any(_forbids_gradient(function) for function in _functions(forward))
    return PartCode(
        frozenset(names),
        frozenset(used),
        frozenset(read),
        _declared(forward),
        has_kernels,
        goes_around,
        has_gradient,
        is_reversible,
    )


def _runs_backward(known: Any) -> bool:
    """Whether a global is an ``autograd.Function`` whose backward pass runs that of modules."""
    if not (isinstance(known, type) and issubclass(known, torch.autograd.Function)):
        return False
    names = names_in(known.backward)
    return "backward_pass" in names or {"autograd", "backward"} <= names


def _forbids_gradient(function: FunctionType) -> bool:
    """Whether a function is the wrapper that PyTorch puts around one decorated with ``torch.no_grad()``."""
    makes_context = _closure(function).get("ctx_factory")
    return isinstance(getattr(makes_context, "__self__", None), torch.no_grad | torch.inference_mode)


def _declared(forward: Any) -> frozenset[str]:
    """The names given to ``force_accelerate_hooks``, by which transformers marks a ``forward`` that reads weights."""
    given = (_closure(function).get("child_module_names", ()) for function in _functions(forward))
    return frozenset(name for names in given for name in names)


def _closure(function: FunctionType) -> dict[str, Any]:
    """The variables that a function closes over, those that are not set yet left out."""
    found = {}
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        with suppress(ValueError):
            found[name] = cell.cell_contents
    return found


def _sort(chain: list[str], used: set[str], read: set[str]) -> None:
    """Note what ``self.a.b`` stands for: a call or a handing on of b, or a reading of its weight."""
    if chain[-1] == "forward":
        read.add(".".join(chain[:-1]))
    elif _PARAMETER in chain[1:]:
        place = chain.index(_PARAMETER, 1)
        if not set(chain[place + 1 : place + 2]) & _ASKED_ONLY:
            read.add(".".join(chain[:place]))
    elif chain:
        used.add(".".join(chain))


def _reached(module_type: type[Any]) -> Iterator[tuple[FunctionType, str]]:
    """The methods of a class, and the functions of its file, that its ``forward`` can come to.

    With each is what it calls the module: empty for a function, whose arguments are anything.
    """
    waiting: list[tuple[Any, bool]] = [(getattr_static(module_type, "forward", None), True)]
    seen: set[FunctionType] = set()
    while waiting:
        item, is_method = waiting.pop()
        for function in _functions(item):
            if function in seen or function.__module__ == nn.Module.__module__:
                continue
            seen.add(function)
            code = function.__code__
            yield function, code.co_varnames[0] if is_method and code.co_argcount else ""
            for name in {name for each in _codes(code) for name in each.co_names}:
                waiting.extend((method, True) for method in _overridden(module_type, name, function))
                known = function.__globals__.get(name)
                if isinstance(known, FunctionType) and known.__module__ == function.__module__:
                    waiting.append((known, False))


def _overridden(module_type: type[Any], name: str, caller: FunctionType) -> Iterator[Any]:
    """What a method ``name`` may be: the class's own, and those of the classes before it for a caller of ``super``."""
    found = [vars(ancestor)[name] for ancestor in module_type.__mro__ if name in vars(ancestor)]
    yield from found if "super" in caller.__code__.co_names else found[:1]


def _functions(item: Any) -> list[FunctionType]:
    """The plain functions behind a function, a property, or a decorator's wrapper; the outermost first."""
    found: list[FunctionType] = []
    waiting: list[Any] = [item.fget if isinstance(item, property) else getattr(item, "__func__", item)]
    while waiting:
        function = waiting.pop()
        if isinstance(function, FunctionType) and function not in found:
            found.append(function)
            waiting.append(getattr(function, "__wrapped__", None))
            waiting.extend(_closure(function).values())
    return found


def _codes(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _codes(constant)


def _chains(code: CodeType) -> Iterator[list[str]]:
    """Every ``x.a.b.c`` of a local variable in the code, as ``[x, a, b, c]``."""
    chain: list[str] = []
    for instruction in dis.get_instructions(code):
        name = instruction.opname
        if name == "EXTENDED_ARG":
            continue
        if chain and name in ("LOAD_ATTR", "LOAD_METHOD"):
            chain.append(instruction.argval)
            continue
        if len(chain) > 1:
            yield chain
        chain = []
        if "LOAD_FAST" in name or name == "LOAD_DEREF":
            loaded = instruction.argval  # two variables, for some instructions; the last one is on top
            chain = [loaded[-1] if isinstance(loaded, tuple) else loaded]


def names_in(function: Any) -> frozenset[str]:
    """Every global, attribute and method that one function speaks of."""
    return frozenset(name for each in _functions(function) for code in _codes(each.__code__) for name in code.co_names)
