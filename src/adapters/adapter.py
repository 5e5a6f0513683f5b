"""The adapter: the handle on one method attached to one model."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import CheckpointKeyError, ConfigError, DetachedError, shortened
from .attachments import Attachments, attachments, close_attachments, open_attachments
from .checkpoint import STEPS, Description, Origin, describe, read_checkpoint, write_checkpoint
from .clock import Clock
from .lifecycle import follow, has_lifecycle, unfollow, unwatch, watch
from .merge_report import MergeReport
from .method import Method
from .peft_format import trained_prefix
from .plan import Plan
from .report import Report
from .seam import seam_of
from .site import Site
from .site_adapter import SiteAdapter
from .slot import Switch


class Adapter:
    """One method, attached to one model. Made by ``attach`` and ``load``.

    Attributes:
        name: Its name among the adapters of the model.
        modules: What the method built, by site name; an adapter's own modules, for its method to look at.
        clock: The optimizer steps it has seen, for a method with a schedule or a penalty; else ``None``.
    """

    def __init__(self, plan: Plan, modules: dict[str, SiteAdapter], name: str, origin: Callable[[Method], Origin]):
        self.name = name
        self.modules = modules
        self.clock = Clock() if has_lifecycle(plan.method) else None
        self._plan = plan.only(modules)
        self._origin = origin
        self._description: Description | None = None
        self._switch = Switch()
        self._enabled = True
        self._merged = False
        self._attached = False
        self._insert()

    @property
    def model(self) -> nn.Module:
        """The model it is attached to."""
        return self._live().model

    @property
    def method(self) -> Method:
        """The method with its settings."""
        return self._plan.method

    @property
    def sites(self) -> tuple[Site, ...]:
        """The places it adapts, in the model's order."""
        return self._plan.sites

    @property
    def trained(self) -> tuple[str, ...]:
        """Names of the base parameters that are trained themselves, a new task head's among them."""
        return self._plan.trained

    @property
    def num_trainable(self) -> int:
        """Number of trained parameters: those of its own modules, the new head's, and others trained themselves."""
        return sum(parameter.numel() for parameter in self.parameters())

    def parameters(self) -> Iterator[nn.Parameter]:
        """Every trained parameter, for an optimizer."""
        return (parameter for _, parameter in self.named_parameters())

    def named_parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        """Every trained parameter by name: ``<site>.<tensor>`` for its own, the base's name for the others."""
        self._live()
        for site, module in self.modules.items():
            for key, parameter in module.named_parameters():
                if parameter.requires_grad:
                    yield f"{site}.{key}" if site else key, parameter
        yield from self._trained_copies().items()

    def parameter_groups(self, learning_rate: float) -> list[dict[str, Any]]:
        """The trained parameters as an optimizer's groups, with the learning rates that the method gives its tensors.

        Args:
            learning_rate: The rate of tensors whose factor is 1, and of parameters trained themselves.
        """
        factors = self.learning_rate_factors()
        groups: dict[float, list[nn.Parameter]] = {}
        for parameter in self.parameters():
            groups.setdefault(factors.get(id(parameter), 1.0), []).append(parameter)
        return [{"params": members, "lr": learning_rate * factor} for factor, members in groups.items()]

    def learning_rate_factors(self) -> dict[int, float]:
        """What the method multiplies the learning rate by, by the ``id`` of each of its own parameters."""
        return {
            id(parameter): self.method.learning_rate_factor(key)
            for module in self.modules.values()
            for key, parameter in module.named_parameters()
        }

    def report(self) -> Report:
        """What it reaches in the model, in numbers."""
        from .merge import merge_errors

        with self.disabled():  # it tells of the base, as ``description`` does
            report = self._live().report_of(self.modules)
        return replace(report, merge=MergeReport(merge_errors(self, self._attachments())) if self._merged else None)

    @property
    def enabled(self) -> bool:
        """Whether it takes part in the forward pass; setting it turns the adapter on or off."""
        return self._enabled

    @enabled.setter
    def enabled(self, on: bool) -> None:
        self._live()
        self._enabled = on
        self._turn(on and not self._merged)
        for overlay in self._attachments().of(self.name):
            overlay.show(self.name, on)

    @property
    def weight(self) -> float:
        """How much of the adapter's change of each output is taken: 1 all of it. A new task head is taken as it is.

        Raises:
            ConfigError: Another weight than 1 for a method whose function cannot be weighed, or that trains parameters
                of the base themselves, or for a merged adapter.
        """
        return self._switch.weight

    @weight.setter
    def weight(self, weight: float) -> None:
        self._live()
        whole = set(self.trained) - set(self._plan.head)
        if weight != 1.0 and (whole or not all(seam_of(module).weighs for module in self.modules.values())):
            raise ConfigError(
                f'The adapter "{self.name}" ({self.method.name}) cannot be weighed: part of it is no change of an '
                "output. Turn it on or off instead."
            )
        if self._merged:
            raise ConfigError(f'The adapter "{self.name}" is merged: unmerge it before it is weighed.')
        self._switch.weight = float(weight)

    @contextmanager
    def disabled(self) -> Iterator[None]:
        """The base model, as if nothing were attached, inside a ``with`` block."""
        before = self._enabled
        self.enabled = False
        try:
            yield
        finally:
            self.enabled = before

    @property
    def merged(self) -> bool:
        """Whether its deltas are in the base weights now."""
        return self._merged

    def merge(self, *, to: torch.dtype | None = None, keep_base: bool = True) -> MergeReport:
        """Put the adapter into the base weights: ``W' = W + delta``, added in float32 and rounded once.

        Args:
            to: A floating-point dtype that quantised weights are merged to: a linear map of it stands in the place of
                the quantised one. By default the sum is quantised again, which may leave little of a small delta.
            keep_base: Keep the base weights aside, so that ``unmerge`` and ``detach`` give them back to the bit. With
                ``False`` they are let go, the adapter ends, and the model is a plain one with the merged weights.

        Returns:
            How far the merged weights of a quantised base are from the sum; the report says it too.

        Raises:
            MergeError: The method has no weight delta, a weight is tied, or an adapter beside it needs the base. The
                model is untouched.
            FormatError: A quantised weight cannot take the sum in its own format. The model is untouched.
        """
        from .merge import merge, merge_errors  # here, since merging needs the handle and the handle offers merging

        self._live()
        merge(self, self.modules, self._attachments(), keep_base=keep_base, to=to)
        self._merged = True
        self._turn(False)
        report = MergeReport(merge_errors(self, self._attachments()))
        if not keep_base:
            self._attachments().settle()
            self._remove()
        return report

    def unmerge(self) -> None:
        """Undo ``merge``: the base weights kept aside come back, to the bit."""
        from .merge import unmerge

        self._live()
        unmerge(self, self._attachments())
        self._merged = False
        self._turn(self._enabled)

    def detach(self) -> None:
        """Take the adapter off. With the last one the model is what it was before, to the bit."""
        self._live()
        for overlay in self._attachments().of(self.name):
            overlay.take(self.name)
        self._remove()

    def tensors(self) -> dict[str, Tensor]:
        """Every tensor of a checkpoint under its name in the file; they share memory with the adapter."""
        own = self._live().tensors_of(self.modules)
        if self.clock is not None:
            own[STEPS] = torch.tensor(self.clock.steps)
        prefix = trained_prefix(self.method.peft)
        return own | {prefix + name: parameter.detach() for name, parameter in self._trained_copies().items()}

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Write the tensors of a checkpoint into the adapter, strictly.

        Raises:
            CheckpointKeyError: Tensors are missing, unexpected or mis-shaped; nothing was written.
        """
        mine = self.tensors()
        require_same_tensors({key: tuple(tensor.shape) for key, tensor in mine.items()}, tensors)
        for key, tensor in mine.items():
            tensor.copy_(tensors[key])
        if self.clock is not None:
            self.clock.steps = int(mine[STEPS])
            self.clock.restart()

    def restore_from(self, folder: str | Path) -> None:
        """Write a checkpoint of this adapter's own back into it, also one from before its method changed its ranks.

        Raises:
            CheckpointError: The checkpoint cannot be read, or is of another adapter.
        """
        checkpoint = read_checkpoint(folder)
        settings = checkpoint.record["settings"] if checkpoint.record else self.method.to_dict()
        if settings != self.method.to_dict():
            self.rebuild(type(self.method).from_dict(settings))
        self.restore(checkpoint.tensors)

    def become(self, method: Method) -> None:
        """Take over new settings of the same method, after a step that changed what the adapters are."""
        self._plan = replace(self._live(), method=method)
        self._description = None

    def finish(self) -> None:
        """Let go what was only for training: nothing of it is in a checkpoint afterwards."""
        changed = self._live().method.finish(self.modules)
        if changed is not None:
            self.become(changed)

    def rebuild(self, method: Method) -> None:
        """Build the adapters anew by other settings of the same method; ``restore`` is to follow.

        A checkpoint from before its method changed the adapters' ranks needs this.
        """
        plan = replace(self._live(), method=method)
        fresh = plan.build()
        self._take_out()
        self._plan, self._description, self.modules = plan.only(fresh), None, fresh
        self._put_in()

    def save(self, folder: str | Path) -> None:
        """Write the checkpoint: ``adapter_model.safetensors`` and ``adapter_config.json``, both or neither.

        Raises:
            CheckpointError: The folder cannot be written.
        """
        write_checkpoint(folder, self.description(), self.tensors())

    def description(self) -> Description:
        """What its checkpoint says beside the tensors."""
        plan = self._live()
        if self._description is None:
            with self.disabled():  # it tells of the base, whose names and weights an adapter of a model may hide
                self._description = describe(plan, self._origin(self.method))
        return self._description

    def __repr__(self) -> str:
        state = "detached" if not self._attached else "merged" if self._merged else "on" if self._enabled else "off"
        return f"<Adapter {self.name}: {self.method.name} at {len(self.sites)} sites, {state}>"

    def _live(self) -> Plan:
        if not self._attached:
            raise DetachedError(f'The adapter "{self.name}" was detached: attach or load it again to use it.')
        return self._plan

    def _attachments(self) -> Attachments:
        found = attachments(self._plan.model)
        assert found is not None
        return found

    def _trained_copies(self) -> dict[str, nn.Parameter]:
        """The trainable copies of base parameters by name."""
        overlays = self._attachments().overlays
        return {name: overlays[name].trained(self.name) for name in self.trained}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)  # a copy of a model has adapters of its own, which follow optimizers of their own
        if self.clock is not None and self._attached:
            follow(self)

    def _turn(self, on: bool) -> None:
        self._switch.on = on
        for module in self.modules.values():
            seam_of(module).turn(module, on)

    def _insert(self) -> None:
        model = self._plan.model
        attached = open_attachments(model)
        attached.adapters[self.name] = self
        for overlay in attached.cover(model, self.trained):
            overlay.put(self.name, overlay.trainable())
        self._put_in()
        self._attached = True
        if self.clock is not None:
            follow(self)
            watch(model)
            self.clock.restart()

    def _put_in(self) -> None:
        for site in self.sites:
            adapter = self.modules[site.name]
            seam_of(adapter).insert(site, self.name, adapter, self._switch)

    def _take_out(self) -> None:
        for site in self.sites:
            adapter = self.modules[site.name]
            seam_of(adapter).remove(site, self.name, adapter)

    def _remove(self) -> None:
        self._take_out()
        attached = self._attachments()
        attached.prune()
        del attached.adapters[self.name]
        if self.clock is not None:
            unfollow(self)
            unwatch(self._plan.model)
        if not attached.adapters:
            close_attachments(self._plan.model)
        self._attached = False


def require_same_tensors(expected: Mapping[str, tuple[int, ...]], found: Mapping[str, Tensor]) -> None:
    """Refuse tensors that are not exactly the expected ones.

    Raises:
        CheckpointKeyError: Some are missing, unexpected or of another shape; each kind is named.
    """
    shapes = {key: tuple(tensor.shape) for key, tensor in found.items()}
    differing = [key for key in expected.keys() & shapes.keys() if shapes[key] != expected[key]]
    problems = {
        "missing": sorted(expected.keys() - shapes.keys()),
        "unexpected": sorted(shapes.keys() - expected.keys()),
        "of another shape": sorted(f"{key} {shapes[key]} for {expected[key]}" for key in differing),
    }
    said = "; ".join(f"{len(names)} {problem}: {shortened(names, 3)}" for problem, names in problems.items() if names)
    if said:
        raise CheckpointKeyError(
            f"The checkpoint does not fit this model and method: {said}. "
            "Load it on the base model and with the number of labels it was trained with."
        )
