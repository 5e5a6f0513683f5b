"""The attention seam: an adapter's keys and values stand before those of one attention module.

There are two roads. A module that asks transformers' registry for its attention function is served at the call of that
function (``attention_interface.py``). Inside any other, PyTorch's functions are watched (``attention_watch.py``).
After each forward pass it is checked that the adapters came in, so that no attention leaves them out in silence.

The hooks close over nothing and find the adapters in the slot, as those of the module seam do.
"""

from ..errors import PlanError
from .attention_adapter import AttentionAdapter
from .attention_interface import looks_up, require_served, tap, untap
from .attention_prefix import KEY
from .attention_watch import start_watching, stop_watching
from .seam import Seam, seam_of
from .site import Site
from .site_adapter import SiteAdapter
from .slot import Switch


class AttentionSeam(Seam):
    """Among the keys and values of an attention."""

    key = KEY
    weighs = False
    routes = True

    def insert(self, site: Site, name: str, adapter: SiteAdapter, switch: Switch) -> None:
        """Let the adapter's keys and values be attended to."""
        assert isinstance(adapter, AttentionAdapter)
        adapter.where = site.name
        super().insert(site, name, adapter, switch)
        tap(adapter)

    def remove(self, site: Site, name: str, adapter: SiteAdapter) -> None:
        """Undo ``insert``."""
        assert isinstance(adapter, AttentionAdapter)
        super().remove(site, name, adapter)
        adapter.where = ""
        untap(adapter)

    def require(self, site: Site) -> None:
        """Refuse an attention that is known to leave no way in.

        Raises:
            PlanError: It computes with flex attention, whose masks are compiled for the sequence alone.
        """
        config = getattr(site.module, "config", None)
        implementation = getattr(config, "_attn_implementation", None)
        if implementation == "flex_attention":
            raise PlanError(
                f'{site.name} computes with "flex_attention", whose masks have no room for keys before the sequence: '
                'call model.set_attn_implementation("sdpa") first.'
            )

    def open(self, site: Site) -> None:
        """Register the hooks."""
        if looks_up(site.module):
            site.module.register_forward_hook(require_served)
        else:
            site.module.register_forward_pre_hook(start_watching)
            site.module.register_forward_hook(stop_watching, always_call=True)

    def close(self, site: Site) -> None:
        """Remove them."""
        module = site.module
        for hooks in (module._forward_pre_hooks, module._forward_hooks):
            for key in [key for key, hook in hooks.items() if hook in _HOOKS]:
                del hooks[key]
                module._forward_hooks_always_called.pop(key, None)


_HOOKS = (require_served, start_watching, stop_watching)
_SEAM = AttentionSeam()
seam_of.register(AttentionAdapter, lambda adapter: _SEAM)
