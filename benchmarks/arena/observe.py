"""What a model computes and what it is, held fast to be compared later."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

import inarch

Batch = Mapping[str, Tensor]


@dataclass(frozen=True)
class Observation:
    """What a model said to a batch.

    Attributes:
        loss: A scalar.
        logits: What it predicts, where its output has that.
    """

    loss: Tensor
    logits: Tensor | None

    def equals(self, other: "Observation") -> bool:
        """Whether the two are equal to the bit."""
        return all(torch.equal(mine, theirs) for mine, theirs in self._pairs(other))

    def distance(self, other: "Observation") -> float:
        """The largest difference between the two, where both are finite."""
        return max(float((mine - theirs).abs().nan_to_num().max()) for mine, theirs in self._pairs(other))

    def _pairs(self, other: "Observation") -> list[tuple[Tensor, Tensor]]:
        pairs = [(self.loss, other.loss)]
        if self.logits is not None and other.logits is not None and self.logits.numel():
            pairs.append((self.logits, other.logits))
        return pairs


@dataclass(frozen=True)
class Reached:
    """What the loss of a model depends on.

    Attributes:
        parameters: Names of its parameters.
        modules: Names of the modules whose output, the first of several, it depends on.
        called: Names of the modules that are called, or whose weight is that of one that is.
    """

    parameters: frozenset[str]
    modules: frozenset[str]
    called: frozenset[str]

    def needs(self, site: inarch.Site) -> bool:
        """Whether an adapter at a site must get a gradient: the loss depends on what the base has there, as it is used.

        What a module gives may be left aside while its matrix counts in another one, and where the matrix itself has no
        gradient, since all that it is given is zero, an adapter of it has none either.
        """
        own = site.module._parameters.get("weight")
        start = f"{site.name}." if site.name else ""
        if own is None or not own.is_floating_point():
            depends = any(name.startswith(start) for name in self.parameters)
        else:
            depends = f"{start}weight" in self.parameters
        return depends and (site.name in self.modules or site.name not in self.called)


def loss_of(model: nn.Module, batch: Batch) -> Tensor:
    """The loss, with its graph; the same for the same model and batch, whatever the model draws by chance."""
    loss: Tensor = _loss(_output(model, batch))
    return loss


def observe(model: nn.Module, batch: Batch) -> Observation:
    """What the model says to the batch."""
    with torch.no_grad():
        output = _output(model, batch)
    return Observation(_loss(output).detach().clone(), _logits(output))


def reached(model: nn.Module, batch: Batch) -> Reached:
    """What the loss depends on: that whose gradient is not zero. The parameters are left trainable."""
    for parameter in model.parameters():
        parameter.requires_grad_(parameter.is_floating_point())
    notes = [_Note(name) for name, _ in model.named_modules()]
    hooks = [module.register_forward_hook(note) for note, module in zip(notes, model.modules(), strict=True)]
    loss_of(model, batch).backward()
    for hook in hooks:
        hook.remove()
    parameters = frozenset(
        name
        for name, parameter in model.named_parameters(remove_duplicate=False)
        if parameter.grad is not None and bool(parameter.grad.any())
    )
    modules = frozenset(note.name for note in notes if note.reached)
    return Reached(parameters, modules, _called(model, {note.name for note in notes if note.called}))


def _called(model: nn.Module, names: set[str]) -> frozenset[str]:
    """The modules that were called, and those that share a parameter with one of them."""
    modules = dict(model.named_modules())
    used = {
        id(parameter) for name in names for parameter in modules[name]._parameters.values() if parameter is not None
    }
    return frozenset(names).union(
        name for name, module in modules.items() if used.intersection(map(id, module._parameters.values()))
    )


@dataclass
class _Note:
    """A forward hook: whether a module is called, and whether a gradient that is not zero comes to its first output."""

    name: str
    called: bool = False
    reached: bool = False

    def __call__(self, module: nn.Module, args: Any, output: Any) -> None:
        self.called = True
        while isinstance(output, (tuple, list, dict)) and output:
            output = next(iter(output.values())) if isinstance(output, dict) else output[0]
        if isinstance(output, Tensor) and output.requires_grad:
            output.register_hook(self._look)

    def _look(self, gradient: Tensor) -> None:
        self.reached |= bool(gradient.any())


def snapshot(model: nn.Module) -> dict[str, Any]:
    """Whatever of a model an adapter might leave a trace in: its values, its parts and what hangs on them."""
    modules = dict(model.named_modules())
    return {
        "values": {name: value.detach().clone() for name, value in model.state_dict().items()},
        "identities of parameters": {n: id(p) for n, p in model.named_parameters(remove_duplicate=False)},
        "requires_grad": {name: parameter.requires_grad for name, parameter in model.named_parameters()},
        "modules": {name: (type(module), module.training) for name, module in modules.items()},
        "hooks": {name: _hooks(module) for name, module in modules.items()},
        "attributes": {name: sorted(vars(module)) for name, module in modules.items()},
    }


def traces(before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    """What differs between two snapshots, in words; empty for nothing."""
    differing = []
    for aspect, was in before.items():
        now = after[aspect]
        names = [name for name in was.keys() | now.keys() if not _same(was.get(name), now.get(name))]
        if names:
            differing.append(f"{aspect} of {min(names) or 'the model'}")
    return ", ".join(differing)


def _output(model: nn.Module, batch: Batch) -> Any:
    torch.manual_seed(0)
    return model(**batch)


def _loss(output: Any) -> Tensor:
    """The output's loss; for a model that computes none, the mean square of what it predicts."""
    loss = getattr(output, "loss", None)
    if loss is None:
        logits = _logits(output)
        assert logits is not None, f"{type(output).__name__} has neither a loss nor logits"
        loss = logits.float().square().mean()
    scalar: Tensor = loss.float().sum()
    return scalar


def _logits(output: Any) -> Tensor | None:
    logits = getattr(output, "logits", None)
    return logits if isinstance(logits, Tensor) else None


def _hooks(module: nn.Module) -> dict[str, int]:
    return {name: len(hooks) for name, hooks in vars(module).items() if name.endswith("_hooks")}


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        return torch.equal(one, other) or bool(((one == other) | (one.isnan() & other.isnan())).all())
    return bool(one == other)
