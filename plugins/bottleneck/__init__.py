"""Bottleneck adapters: small networks at the outputs of sublayers (Houlsby et al. 2019, arXiv:1902.00751)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import takewhile
from typing import Any, ClassVar, Literal, Self

import inarch
from inarch import Method, Site, SiteAdapter

from .network import Bottleneck, Shape
from .parallel import Beside, Passage, Tap

_ROLES = {"houlsby": {"attention.output", "mlp.down"}, "pfeiffer": {"mlp.down"}}
_ENDS = (("mlp.up", "mlp.down"), ("sublayer.input", "sublayer.output"))


@dataclass(frozen=True, kw_only=True)
class BottleneckAdapters(Method):
    """y' = y + s U act(D y), with D and U trained and the model frozen, at the outputs of sublayers.

    Houlsby et al. 2019, arXiv:1902.00751, section 2.1; Pfeiffer et al. 2020, arXiv:2005.00247; parallel: He et al.
    2021, arXiv:2110.04366, table 1. The output is that of the sublayer's last map, before dropout and the residual.

    Attributes:
        placement: Where the default targets put it: ``houlsby`` after each attention and each feed-forward, and
            ``pfeiffer`` after each feed-forward; a model without known ones gets it after every sublayer that is found.
            ``parallel`` reads a feed-forward's input instead of its output, and needs its first and its last map; a
            model without any gets it beside other sublayers. Targets that are given are taken as they are.
        reduction_factor: The features are divided by it, and rounded down to 1 at least, for the bottleneck's size.
        bottleneck: The bottleneck's size, if it is not to follow from ``reduction_factor``.
        activation: Between D and U. With ``relu`` a small bottleneck may start dead.
        layer_norm: Whether a trained layer norm comes before D.
        scale: s; He et al. use 4 for the parallel placement.
    """

    name = "bottleneck"
    accepts = ("linear", "convolution", "experts")
    otherwise = ("@sublayer.input", "@sublayer.output", "@linear", "@convolution")
    # Houlsby et al. tune over 3e-5, 3e-4 and 3e-3 (section 3.2); Pfeiffer et al. take 1e-4
    search: ClassVar[Mapping[str, tuple[Any, ...]]] = {"learning_rate": (1e-4, 3e-4, 1e-3, 3e-3)}

    targets: tuple[str, ...] = ("@attention.output", "@mlp.up", "@mlp.down")
    placement: Literal["houlsby", "pfeiffer", "parallel"] = "houlsby"
    reduction_factor: int = 16
    bottleneck: int | None = None
    activation: Literal["gelu", "relu", "silu", "tanh", "sigmoid"] = "gelu"
    layer_norm: bool = False
    scale: float = 1.0

    def __post_init__(self) -> None:
        self.require(self.reduction_factor >= 1, "reduction_factor", "it must be at least 1")
        self.require(self.bottleneck is None or self.bottleneck >= 1, "bottleneck", "it must be at least 1")

    def build(self, site: Site) -> Bottleneck:
        """The network after one map."""
        return Bottleneck(site, self._shape(site.out_features))

    def build_all(self, sites: Sequence[Site]) -> dict[str, SiteAdapter]:
        """The networks at the sites of the placement, and the taps of parallel ones."""
        if self.placement == "parallel":
            return self._beside(sites)
        return {site.name: self.build(site) for site in self._placed(sites)}

    def sized(self, size: int) -> Self:
        """With another bottleneck, the same one everywhere."""
        return replace(self, bottleneck=size)

    def _shape(self, features: int) -> Shape:
        size = self.bottleneck or max(1, features // self.reduction_factor)
        return Shape(features, size, self.activation, self.layer_norm, self.scale)

    def _placed(self, sites: Sequence[Site]) -> Sequence[Site]:
        """Of the sites that the default targets found, those of the placement."""
        if self.targets != type(self).targets:
            return sites
        for roles in (_ROLES[self.placement], {"sublayer.output"}):
            found = [site for site in sites if not roles.isdisjoint(site.roles)]
            if found:
                return found
        return sites

    def _beside(self, sites: Sequence[Site]) -> dict[str, SiteAdapter]:
        first, last = self._ends(sites)
        self.require(bool(last), "placement", "no target is the last map of a feed-forward (@mlp.down): use pfeiffer")
        built: dict[str, SiteAdapter] = {}
        for end in last:
            if end.kind == "experts":  # one module, which is given the feed-forward's input
                built[end.name] = Beside(end, self._shape(end.in_features), None)
                continue
            start = self._first_map(end, first)
            self.require(start.name not in built, "placement", f"{start.name} begins several feed-forwards")
            passage = Passage()
            built[start.name] = Tap(passage)
            built[end.name] = Beside(end, self._shape(start.in_features), passage)
        return built

    def _ends(self, sites: Sequence[Site]) -> tuple[list[Site], list[Site]]:
        """The first and the last maps of the feed-forwards, or of other sublayers, whose maps keep every position."""
        for start, end in _ENDS:
            last = [site for site in sites if end in site.roles and (end == "mlp.down" or site.kind != "convolution")]
            if last:
                return [site for site in sites if start in site.roles and site.kind != "experts"], last
        return [], []

    def _first_map(self, end: Site, first: Sequence[Site]) -> Site:
        """The first map of the feed-forward that ends at ``end``: the one whose name begins like it the longest."""
        alike = [_words_alike(end.name, site.name) for site in first]
        found = [site for site, words in zip(first, alike, strict=True) if words == max(alike)]
        names = " and ".join(site.name for site in found) or "none"
        self.require(
            len(found) == 1, "placement", f"{end.name} needs one first map (@mlp.up) among the targets, and has {names}"
        )
        return found[0]


def _words_alike(name: str, other: str) -> int:
    """How many words two dotted names begin with alike."""
    pairs = zip(name.split("."), other.split("."), strict=False)
    return len(list(takewhile(lambda pair: pair[0] == pair[1], pairs)))


@inarch.hookimpl
def register_methods(register: Any) -> None:
    """Bring bottleneck adapters."""
    register(BottleneckAdapters)
