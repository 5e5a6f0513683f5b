"""A case: one method on one family of models, with what the laws do to the two."""

import sys
import traceback
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..adapters import Adapter, Method
from ..adapters.attach import load
from ..api import attach, find_origin
from ..errors import InarchError, RegistryError
from ..registry import registry
from .family import Family
from .verdict import Broken, Refused

LEARNING_RATE = 1e-2
ATTACHING, TRAINED = 3, 7
"""Seeds of what a method draws when it is built, and of the values that stand for trained ones."""


@dataclass(frozen=True)
class Case:
    """One method on one family: what a law is held on.

    Attributes:
        method: The method with its settings.
        family: The models.
        dtype: Of the base model: float64 where a law compares two roads to one result, so that rounding is no excuse.
    """

    method: Method
    family: Family
    dtype: torch.dtype = torch.float32

    def precise(self) -> "Case":
        """The same case in float64."""
        return replace(self, dtype=torch.float64)

    def for_steps(self, steps: int) -> "Case":
        """The same case with the method told how long it will train.

        Raises:
            Refused: Its schedule does not fit into so few steps.
        """
        try:
            return replace(self, method=self.method.for_steps(steps))
        except InarchError as error:
            raise Refused(str(error)) from error

    def base(self, layers: int = 2) -> nn.Module:
        """The base model, the same one at each call."""
        return self.family.model(layers=layers).to(self.dtype)

    def batch(self, seed: int = 1, rows: int = 2) -> dict[str, Tensor]:
        """A batch with labels, in the base's dtype."""
        return self.cast(self.family.batch(seed, rows))

    def inputs(self, seed: int = 1, rows: int = 2) -> dict[str, Tensor]:
        """The same batch without labels."""
        return self.cast(self.family.inputs(seed, rows))

    def cast(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """A batch with its floating-point tensors in the base's dtype."""
        return {name: value.to(self.dtype) if value.is_floating_point() else value for name, value in batch.items()}

    def attach(self, model: nn.Module, name: str = "default") -> Adapter:
        """The method, attached to ``model``; it draws the same numbers at each call.

        Raises:
            Refused: The method, or the core on its behalf, said no.
            Broken: It does not keep the contract.
        """
        torch.manual_seed(ATTACHING)
        try:
            return attach(model, self.method, name=name)
        except RegistryError as error:
            raise Broken(str(error)) from error
        except InarchError as error:
            raise Refused(str(error)) from error

    def adapted(self) -> tuple[nn.Module, Adapter]:
        """A base model with an adapter whose parameters have values that training might have given them."""
        model = self.base()
        adapter = self.attach(model)
        perturb(adapter)
        return model, adapter

    def load(self, model: nn.Module, folder: Path) -> Adapter:
        """The adapter of a checkpoint, on ``model``; a method that no plugin announces is known here all the same.

        What the method draws is drawn from another seed than when it was attached: a file that leaves out what was
        drawn is then found out.
        """
        torch.manual_seed(ATTACHING + 1)
        return load(
            model,
            folder,
            name="default",
            check_base=True,
            find_method=lambda record: type(self.method),
            find_peft_method=registry().method_of_peft,
            origin=find_origin,
        )

    def described(self, error: Exception) -> str:
        """An error in one line, with the place in the method's own file that it passed through."""
        own = getattr(sys.modules.get(type(self.method).__module__), "__file__", None)
        places = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == own]
        where = f" ({Path(places[-1].filename).name}:{places[-1].lineno})" if places else ""
        return f"{type(error).__name__}: {' '.join(str(error).split())}{where}"

    def optimizer(self, adapter: Adapter, learning_rate: float = LEARNING_RATE) -> torch.optim.Optimizer:
        """Adam on what the adapter trains."""
        return torch.optim.Adam(adapter.parameter_groups(learning_rate))

    def train(
        self, model: nn.Module, optimizer: torch.optim.Optimizer, steps: Iterable[int], *, one_batch: bool = False
    ) -> None:
        """Train in a plain loop; every step has its own batch and its own seed, so that it can be repeated alone."""
        model.train()
        for step in steps:
            batch = self.batch() if one_batch else self.batch(seed=100 + step)
            torch.manual_seed(step)
            model(**batch).loss.backward()
            optimizer.step()
            optimizer.zero_grad()
        model.eval()


def perturb(adapter: Adapter, seed: int = TRAINED, scale: float = 0.1) -> None:
    """Move every trained parameter of an adapter by a little noise."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in adapter.parameters():
            noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float32)
            parameter.add_(noise.to(parameter), alpha=scale)


def logits(model: Callable[..., Any], batch: Mapping[str, Tensor]) -> Tensor:
    """What the model answers, without gradients."""
    with torch.no_grad():
        answer: Tensor = model(**batch).logits
    return answer


def gradients(model: Callable[..., Any], adapter: Adapter, *batches: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The gradient of each trained parameter by name, of the mean loss over ``batches``, accumulated."""
    for parameter in adapter.parameters():
        parameter.grad = None
    for batch in batches:
        (model(**batch).loss / len(batches)).backward()
    named = {name: parameter.grad for name, parameter in adapter.named_parameters() if parameter.grad is not None}
    for parameter in adapter.parameters():
        parameter.grad = None
    return named


def difference(one: Tensor, other: Tensor) -> float:
    """The largest difference as a share of the largest value; infinite where two tensors cannot be compared."""
    if one.shape != other.shape or not (torch.isfinite(one).all() and torch.isfinite(other).all()):
        return float("inf")
    largest = max(one.abs().max().item(), other.abs().max().item())
    return (one.double() - other.double()).abs().max().item() / largest if largest else 0.0
