"""A good method and ways to break it: each class breaks one promise, and only the law about it can tell."""

import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn import functional

import inarch
from inarch import ConfigError, Factors, OutputAdapter, Site, SiteAdapter, Step, WeightDelta


class Path(OutputAdapter):
    """``y' = y + scale B A x``."""

    def __init__(self, site: Site, method: "Good") -> None:
        super().__init__()
        self.A = nn.Parameter(torch.randn(method.rank, site.in_features, device=site.device) / 8)
        self.B = nn.Parameter(torch.zeros(site.out_features, method.rank, device=site.device))
        self.scale = method.scale

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        low = functional.linear(x.to(y.dtype), self.A.to(y.dtype))
        return y + self.scale * functional.linear(low, self.B.to(y.dtype))

    def delta(self) -> WeightDelta:
        return WeightDelta(weight=self.scale * (self.B @ self.A))


@dataclass(frozen=True, kw_only=True)
class Good(inarch.Method):
    """h = W x + scale B A x. Unpublished."""

    name = "good"

    targets: tuple[str, ...] = ("@attention.value",)
    rank: int = 2
    scale: float = 2.0

    def build(self, site: Site) -> SiteAdapter:
        return Path(site, self)


# 1. says what it is


@dataclass(frozen=True, kw_only=True)
class WithoutFormula(Good):
    """Adds a low-rank path. Hu et al. 2021, arXiv:2106.09685."""


@dataclass(frozen=True, kw_only=True)
class WithoutPaper(Good):
    """h = W x + scale B A x, as everybody knows."""


@dataclass(frozen=True, kw_only=True)
class LosesASetting(Good):
    """h = W x + scale B A x. Unpublished."""

    def to_dict(self) -> dict[str, Any]:
        return {key: value for key, value in super().to_dict().items() if key != "scale"}


@dataclass(frozen=True, kw_only=True)
class KeepsAMemory(Good):
    """h = W x + scale B A x. Unpublished."""

    wider = False

    @classmethod
    def from_dict(cls, settings: Mapping[str, Any]) -> Self:
        method = super().from_dict(settings)
        object.__setattr__(method, "wider", True)
        return method

    def build(self, site: Site) -> SiteAdapter:
        return Path(site, Good(rank=self.rank + self.wider))


@dataclass(frozen=True, kw_only=True)
class BuildsAnotherOnMeta(Good):
    """h = W x + scale B A x. Unpublished."""

    def build(self, site: Site) -> SiteAdapter:
        return Path(site, Good(rank=self.rank + (site.device.type == "meta")))


# 2. starts from the base


class NotAtZero(Path):
    def __init__(self, site: Site, method: Good) -> None:
        super().__init__(site, method)
        nn.init.constant_(self.B, 1e-4)


# 3. trains only itself


class Forgetful(Path):
    def __init__(self, site: Site, method: Good) -> None:
        super().__init__(site, method)
        self.unused = nn.Parameter(torch.zeros(3))


class WritesToTheBase(Path):
    def __init__(self, site: Site, method: Good) -> None:
        super().__init__(site, method)
        self.base = [site.module.weight]

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        if self.training:
            self.base[0].data.mul_(0.999)
        return super().forward(x, y)


class Uphill(Path):
    """Its gradients point the other way."""

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        step = super().forward(x, y) - y
        return y + 2 * step.detach() - step


class UnfreezesTheBase(Path):
    def __init__(self, site: Site, method: Good) -> None:
        super().__init__(site, method)
        self.handle = site.module.register_forward_pre_hook(lambda module, args: module.requires_grad_(True) and None)


# 4. survives a file


class DrawsInSecret(Path):
    """A fixed random projection that is no buffer."""

    def __init__(self, site: Site, method: Good) -> None:
        super().__init__(site, method)
        self.drawn = [torch.rand(site.out_features)]

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return y + (super().forward(x, y) - y) * self.drawn[0].to(y.dtype)

    def delta(self) -> None:
        return None


class ForgivesMissingTensors(Path):
    def state_dict(self, *args: Any, **kwargs: Any) -> Any:
        state = super().state_dict(*args, **kwargs)
        return {key: value for key, value in state.items() if not key.endswith("B")}


# 5. leaves no trace


class LeavesAHook(Path):
    def __init__(self, site: Site, method: Good) -> None:
        super().__init__(site, method)
        site.module.register_forward_pre_hook(_idle)


class LeavesAnAttribute(Path):
    def __init__(self, site: Site, method: Good) -> None:
        super().__init__(site, method)
        site.module.adapted = True


class IgnoresTheSwitch(Path):
    """Works in a hook of its own, which nobody turns off."""

    def __init__(self, site: Site, method: Good) -> None:
        super().__init__(site, method)
        mine = weakref.ref(self)
        site.module.register_forward_hook(lambda module, args, y: Path.forward(mine(), args[0], y))

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return y


class DoesNothing(Path):
    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return y + 0 * (super().forward(x, y) - y)


def _idle(module: nn.Module, args: Any) -> None:
    return None


@dataclass(frozen=True, kw_only=True)
class RefusesTooLate(Good):
    """h = W x + scale B A x. Unpublished."""

    def build(self, site: Site) -> SiteAdapter:
        site.module.register_forward_pre_hook(_idle)
        raise ConfigError("too late")


# 6. merges


class MergesAnother(Path):
    def delta(self) -> WeightDelta:
        return WeightDelta(weight=self.B @ self.A)  # without the scale


class MergesTheBaseOfThen(Path):
    """A delta that is written into the weight itself."""

    def __init__(self, site: Site, method: Good) -> None:
        super().__init__(site, method)
        self.site = site

    def delta(self) -> WeightDelta:
        with torch.no_grad():
            self.site.module.weight.mul_(1 + 1e-12)
        return super().delta()


# 7. holds on quantised bases


class ReadsTheStoredWeight(Path):
    """Multiplies by the weight as it is stored, where ``site.weight()`` was to be asked."""

    def __init__(self, site: Site, method: Good) -> None:
        super().__init__(site, method)
        self.stored = [site.module.weight]

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return super().forward(x, y) + 0 * functional.linear(x, self.stored[0])


# 8. holds in training


class NeverCasts(Path):
    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return y + self.scale * (x @ self.A.T @ self.B.T)


class CountsItsCalls(Path):
    """Answers otherwise at every other call, and so when checkpointing calls it again."""

    def __init__(self, site: Site, method: Good) -> None:
        super().__init__(site, method)
        self.calls = 0

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        self.calls += torch.is_grad_enabled()
        return y + (1 + 0.1 * (self.calls % 2)) * (super().forward(x, y) - y)


class MeansOverTheBatch(Path):
    """In training every row gets the mean of the batch."""

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        change = super().forward(x, y) - y
        return y + (change.mean(0, keepdim=True) if self.training else change)


TABLE: dict[int, nn.Parameter] = {}


class SharesWithItsCopies(Path):
    """Keeps its work in a table beside the module, which a copy of the module shares."""

    def __init__(self, site: Site, method: Good) -> None:
        super().__init__(site, method)
        self.key = id(self)
        TABLE[self.key] = self.B

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        low = functional.linear(x.to(y.dtype), self.A.to(y.dtype))
        return y + self.scale * functional.linear(low.detach(), TABLE[self.key].to(y.dtype))


class SaysOtherFactors(Path):
    """Forgets its scale when it is asked for its matrices."""

    def factors(self) -> Factors:
        return Factors(self.B, self.A)


class BreaksTheGraph(Path):
    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return super().forward(x, y) if float(self.B.abs().sum()) >= 0 else y


# 9. routes rows


class MixesRows(Path):
    """Every row gets the mean of the rows it is called with."""

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        change = super().forward(x, y) - y
        return y + change.mean(0, keepdim=True) + 0.1 * change

    @classmethod
    def for_rows(cls, adapters: Any, weights: Any) -> Any:
        """All rows at once, each by the first adapter."""
        first = next(adapter for adapter in adapters if adapter is not None)
        return lambda x, y: Path.forward(first, x, y)


# 10. resumes


class Warming(Path):
    """Its scale grows with the steps, which it counts in a plain attribute."""

    def __init__(self, site: Site, method: Good) -> None:
        super().__init__(site, method)
        self.steps = 0

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return y + (0.5 + 0.5 * self.steps) * (super().forward(x, y) - y)


@dataclass(frozen=True, kw_only=True)
class CountsInSecret(Good):
    """h = W x + scale B A x. Unpublished."""

    def build(self, site: Site) -> SiteAdapter:
        return Warming(site, self)

    def after_step(self, adapters: Mapping[str, SiteAdapter], step: Step) -> None:
        for adapter in adapters.values():
            adapter.steps += 1  # type: ignore[operator,assignment]


# whatever else


@dataclass(frozen=True, kw_only=True)
class BuildsNoAdapter(Good):
    """h = W x + scale B A x. Unpublished."""

    def build(self, site: Site) -> SiteAdapter:
        return nn.Linear(2, 2)  # type: ignore[return-value]


@dataclass(frozen=True, kw_only=True)
class TargetsNothing(Good):
    """h = W x + scale B A x. Unpublished."""

    targets: tuple[str, ...] = ("@nowhere",)


@dataclass(frozen=True, kw_only=True)
class Raises(Good):
    """h = W x + scale B A x. Unpublished."""

    def build_all(self, sites: Sequence[Site]) -> dict[str, SiteAdapter]:
        raise ZeroDivisionError("by zero")


def building(adapter: type[Path]) -> inarch.Method:
    """The good method with another adapter."""

    @dataclass(frozen=True, kw_only=True)
    class Building(Good):
        """h = W x + scale B A x. Unpublished."""

        def build(self, site: Site) -> SiteAdapter:
            return adapter(site, self)

    Building.__name__ = Building.__qualname__ = adapter.__name__
    return Building()
