"""The adapter: peft's layers under Inarch's contract."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

import inarch
from inarch import MergeError, ModelAdapter, PlanError, Site

from .injection import Injection
from .library import BaseTuner, quiet, said
from .rehearsal import injected, rehearsed
from .skeleton import sharing_copy


class PeftAdapter(ModelAdapter):
    """Whatever a method of peft's adds to one model.

    Until it is inserted it stands for an injection into a copy of the model without weights, which tells names, shapes
    and errors.

    Args:
        name: The method's name.
        model: The model's site.
        targets: The sites that are to be adapted.
        configure: Makes peft's configuration; a new one at each call, since peft writes to it.
        required: Settings that must have a value by the end, given or filled in by peft.

    Attributes:
        steps: Optimizer steps that peft's schedule has been told of.
    """

    def __init__(
        self,
        name: str,
        model: Site,
        targets: Sequence[Site],
        configure: Callable[[], Any],
        required: Sequence[str],
    ) -> None:
        super().__init__()
        self.steps = 0
        self._name = name
        self._model = [model.module]  # in a list, so that the model is no part of the adapter
        self._targets = tuple(target.name for target in targets)
        self._configure = configure
        self._required = required
        self._injection = self._rehearsed()

    def settings(self) -> dict[str, Any]:
        """peft's configuration as JSON types, as the injection filled it in."""
        return self._injection.settings()

    @property
    def tuner(self) -> Any:
        """peft's tuner."""
        return self._injection.tuner

    def insert(self, name: str) -> None:
        """Inject into the model itself.

        Raises:
            PlanError: peft refuses, or does something else than in the copy; the model is as it was.
        """
        expected = _shapes(self._injection)
        injection = injected(self._name, self._model[0], self._configure)
        odd = sorted(expected.items() ^ _shapes(injection).items())
        if odd:
            injection.show(False)
            raise PlanError(f"{self._name} cannot be attached: peft makes {odd[0][0]} by what lies in the weights.")
        injection.route()
        self._injection = injection

    def remove(self) -> None:
        """Undo it."""
        self._injection.show(False)

    def turn(self, on: bool) -> None:
        """Undo it for a while, or redo it."""
        self._injection.show(on)

    def beside(self) -> nn.Module | None:
        """peft's prompt encoder, or what its layers share."""
        return self._injection.beside

    def named_parameters(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, nn.Parameter]]:
        """peft's parameters, wherever they lie."""
        yield from self._injection.own_parameters().items()

    def state_dict(self, *args: Any, **kwargs: Any) -> dict[str, Any]:  # type: ignore[override]
        """The tensors of a checkpoint under peft's names."""
        return self._injection.tensors()

    def merged(self) -> Mapping[str, Tensor]:
        """The base parameters with the adapter merged into them, as peft merges; the model is untouched.

        peft merges in place. So a copy merges, which shares the weights and has only those as its own that are adapted.
        """
        injection = self._injection
        if not isinstance(injection.tuner, BaseTuner):
            raise MergeError(f"{self._name} cannot be merged: its function is no change of the base weights.")
        with injection.showing(True):
            twin: Any = sharing_copy(
                injection.peft_model, injection.adapted(), kept=inarch.adapters(injection.model).values()
            )
        try:
            with quiet(), torch.no_grad():
                plain = twin.merge_and_unload(safe_merge=True)
        except Exception as error:  # what peft cannot do, and what goes wrong where it does not know that
            raise MergeError(f"{self._name} cannot be merged: peft says {said(error)}.") from error
        return self._changed(plain)

    def _changed(self, merged: nn.Module) -> dict[str, Tensor]:
        """The base parameters that differ in the merged model.

        Raises:
            MergeError: They are not only other values of the same parameters.
        """
        with self._injection.showing(False):
            base = dict(self._model[0].named_parameters(remove_duplicate=False))
        found = dict(merged.named_parameters(remove_duplicate=False))
        odd = sorted(base.keys() ^ found.keys())
        if odd:
            raise MergeError(f"{self._name} cannot be merged: peft's merged model differs in having {odd[0]}.")
        changed = {name: value.data for name, value in found.items() if value.data_ptr() != base[name].data_ptr()}
        for name, value in changed.items():
            if value.shape != base[name].shape or value.dtype != base[name].dtype or not value.is_floating_point():
                raise MergeError(f"{self._name} cannot be merged: peft would store {name} in another format.")
        return {name: value for name, value in changed.items() if not torch.equal(value, base[name])}

    def _rehearsed(self) -> Injection:
        """An injection into a copy.

        Raises:
            PlanError: peft refuses, or leaves targets out.
        """
        injection = rehearsed(self._name, self._model[0], self._configure, self._required)
        with injection.showing(False):
            before = {name: injection.model.get_submodule(name) for name in self._targets}
        left_out = [name for name, module in before.items() if injection.model.get_submodule(name) is module]
        if left_out or not injection.own_parameters():
            kinds = sorted({type(before[name]).__name__ for name in left_out})
            raise PlanError(
                f"{self._name} cannot be attached to this {type(injection.model).__name__}: peft leaves "
                f"{_shortened(left_out)} as it is ({', '.join(kinds)}). Leave it out of the targets."
            )
        return injection


def _shapes(injection: Injection) -> dict[str, torch.Size]:
    return {name: tensor.shape for name, tensor in injection.tensors().items()}


def _shortened(names: Sequence[str]) -> str:
    """The first of some names, and how many more there are."""
    return names[0] + (f" and {len(names) - 1} more" if len(names) > 1 else "") if names else "everything"
