"""The prompt seam: vectors among the embedded tokens of a model, as further tokens.

The module that embeds the tokens and holds the blocks, the reader, is called with room for the prompt in the ids, the
mask, the positions and whatever else has a value for each token. The embedding's output gets the vectors in that room,
after any scaling of the embedding's own; and what the reader gives is at the tokens alone again. So heads, losses,
``generate`` and pooling around the reader see the shapes they know. A cache that has been filled by a pass with the
prompt holds it, and later passes only count it in.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import ConfigError, RouteError, TargetError
from .prompt_adapter import PromptAdapter
from .prompt_path import PromptPath, prompt_path
from .prompt_places import Places, places
from .prompt_rows import KEY, Prompt, prompt_of
from .seam import Seam, seam_of
from .site import Site
from .site_adapter import SiteAdapter
from .slot import Slot, Switch, open_slot, slot_of

_NOT_OF_TOKENS = frozenset(
    {"encoder_hidden_states", "encoder_attention_mask", "cross_attention_states", "cross_attention_mask"}
)
"""Arguments with a value for each place of another sequence, which may happen to be as long."""


class PromptSeam(Seam):
    """Before the embedded tokens."""

    key = KEY
    weighs = False
    routes = True

    def insert(self, site: Site, name: str, adapter: SiteAdapter, switch: Switch) -> None:
        """Let the vectors take part."""
        self.require(site)
        super().insert(site, name, adapter, switch)

    def require(self, site: Site) -> None:
        """Refuse a model that a prompt cannot enter.

        Raises:
            TargetError: It embeds no tokens.
        """
        if prompt_path(site.module) is None:
            raise TargetError(
                f"This {type(site.module).__name__} embeds no tokens for a prompt to stand before: its input embedding "
                "is no nn.Embedding beside blocks. Choose a method that adapts its modules."
            )

    def open(self, site: Site) -> None:
        """Register the hooks."""
        path = prompt_path(site.module)
        assert path is not None
        passing = PromptPass(path, open_slot(site.module))
        path.reader.register_forward_pre_hook(passing.before_reader, with_kwargs=True)
        path.reader.register_forward_hook(passing.after_reader, always_call=True)
        path.embedding.register_forward_hook(passing.after_embedding)
        if path.decoder is not None:
            path.decoder.register_forward_pre_hook(passing.before_decoder, with_kwargs=True)

    def close(self, site: Site) -> None:
        """Remove them."""
        path = prompt_path(site.module)
        assert path is not None
        for module in (path.reader, path.embedding, path.decoder):
            if module is not None:
                _remove_hooks(module)


class PromptPass:
    """What happens to a prompt in the forward passes of one model; its methods are the hooks.

    Args:
        path: The modules it passes.
        slot: Where the adapters are.
    """

    def __init__(self, path: PromptPath, slot: Slot) -> None:
        self.path = path
        self.slot = slot
        self._room: Places | None = None
        self._prompt: Prompt | None = None

    def before_reader(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Make room for the prompt in what the reader is given, or count it in where the cache holds it."""
        prompt = prompt_of(self.slot)
        if prompt is None:
            return None
        given = {**dict(zip(self.path.parameters, args, strict=False)), **kwargs}
        _require_flat(given.get("attention_mask"))
        cached = _cached(given)
        prompt = prompt.of(len(_tokens(given)))
        self._require_maskable(prompt, cached)
        changed = self._later(given, prompt, cached) if cached else self._first(given, prompt)
        return (), given | changed

    def after_embedding(self, module: nn.Module, args: tuple[Any, ...], output: Tensor) -> Tensor:
        """Put the prompt's vectors where room was made for them."""
        if self._room is None or self._prompt is None or output.shape[:2] != self._room.longer:
            return output
        return self._room.put(self._prompt.vectors, output)

    def after_reader(self, module: nn.Module, args: tuple[Any, ...], output: Any) -> Any:
        """Leave the prompt's places out of what the reader gives, unless a decoder attends to them.

        Called after a failed pass too, without an output, so that no room is left for a prompt in a later one.
        """
        room, self._room, self._prompt = self._room, None, None
        if room is None or self.path.decoder is not None:
            return output
        return _without_prompt(output, room)

    def before_decoder(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Count the prompt in where the decoder is told which of the encoder's states are padding."""
        prompt = prompt_of(self.slot)
        states, mask = kwargs.get("encoder_hidden_states"), kwargs.get("encoder_attention_mask")
        if prompt is None or states is None:
            return None
        prompt = prompt.of(len(states))
        if mask is None and prompt.lengths is not None:
            mask = _all_ones(states, states.shape[1] - prompt.length)
        if mask is None or states.shape[1] != mask.shape[1] + prompt.length:
            return None
        return args, kwargs | {"encoder_attention_mask": self._places(mask, mask, prompt).extend_mask(mask)}

    def _first(self, given: Mapping[str, Any], prompt: Prompt) -> dict[str, Any]:
        """What changes in a pass that the prompt enters."""
        tokens, mask, positions = _tokens(given), given.get("attention_mask"), given.get("position_ids")
        if mask is None and prompt.lengths is not None:
            mask = _all_ones(tokens, tokens.shape[1])
        room = self._places(tokens, mask, prompt)
        self._refuse_length(room)
        self._room, self._prompt = room, prompt
        of_tokens = {name: value for name, value in given.items() if _has_one_for_each(name, value, room)}
        longer = {name: room.extend(value) for name, value in of_tokens.items()}
        if "inputs_embeds" in longer:
            longer["inputs_embeds"] = room.put(prompt.vectors, longer["inputs_embeds"])
        if mask is not None:
            longer["attention_mask"] = room.extend_mask(mask)
        if positions is not None:
            return longer | {"position_ids": room.extend_positions(positions)}
        self._require_known_positions(room)
        return longer | (self._counted(longer["attention_mask"]) if mask is not None else {})

    def _later(self, given: Mapping[str, Any], prompt: Prompt, cached: int) -> dict[str, Any]:
        """What changes in a pass over a cache that holds the prompt."""
        tokens, mask, positions = _tokens(given), given.get("attention_mask"), given.get("position_ids")
        new = tokens.shape[1]
        _require_counts(mask, positions, cached, new, prompt.length)
        moved = {} if positions is None else {"position_ids": positions + prompt.own}
        if mask is None and prompt.lengths is not None:
            mask = _all_ones(tokens, cached - prompt.length + new)
        if mask is None:
            return moved
        room = self._places(mask, mask, prompt)
        self._refuse_length(room)
        longer = room.extend_mask(mask)
        counted = {name: value[:, -new:] for name, value in self._counted(longer).items()}
        return {"attention_mask": longer} | (moved or counted)

    @property
    def _ends_with_nobodys(self) -> bool:
        """Whether places that are nobody's come last, since before others they would move those.

        They do not where positions can be given, and they do after a token that stays the first.
        """
        return self.path.second or not self.path.takes_positions

    def _places(self, tokens: Tensor, mask: Tensor | None, prompt: Prompt) -> Places:
        rows, count = tokens.shape[:2]
        at_end = self._ends_with_nobodys
        return places(mask, rows, count, prompt, second=self.path.second, at_end=at_end, device=tokens.device)

    def _require_maskable(self, prompt: Prompt, cached: int) -> None:
        """Refuse rows with prompts of different lengths in a model that cannot hide a place, or not in its cache.

        Raises:
            RouteError: It cannot.
        """
        if prompt.lengths is None:
            return
        if "attention_mask" not in self.path.parameters:
            raise RouteError(
                f"{type(self.path.reader).__name__} takes no attention mask, so that rows cannot have prompts of "
                "different lengths, or none: name prompts of one length."
            )
        if cached and self._ends_with_nobodys:
            raise RouteError(
                f"{type(self.path.reader).__name__} takes no positions, so that its cache cannot hold rows with "
                "prompts of different lengths, or none: name prompts of one length, or give use_cache=False."
            )

    def _counted(self, mask: Tensor) -> dict[str, Tensor]:
        """Positions that leave padding out, where the reader takes them."""
        if not self.path.takes_positions:
            return {}
        return {"position_ids": (mask.ne(0).long().cumsum(1) - 1).clamp(min=0)}

    def _require_known_positions(self, room: Places) -> None:
        """Refuse rows without a prompt whose positions are the model's own affair, as padding on the left makes them.

        Raises:
            RouteError: There is such a row.
        """
        if self.path.positions is None or not self.path.takes_positions or room.lengths is None:
            return
        if bool(((room.lengths == 0) & (room.first > 0)).any()):
            raise RouteError(
                "A row without a prompt is padded on the left, and beside rows with one the model has to be told the "
                "positions: give position_ids, or pad on the right."
            )

    def _refuse_length(self, room: Places) -> None:
        most, needed = self.path.positions, room.tokens + room.length
        if most is not None and needed > most:
            raise ConfigError(
                f"{room.tokens} tokens and a prompt of {room.length} are {needed}, and the model has {most} positions: "
                f"give it at most {most - room.length} tokens, or attach a shorter prompt."
            )


def prompt_length(model: nn.Module) -> int:
    """How many places the prompts that are switched on take among the tokens of ``model``."""
    slot = slot_of(model)
    prompt = None if slot is None else prompt_of(slot)
    return 0 if prompt is None else prompt.length


def _all_ones(tokens: Tensor, count: int) -> Tensor:
    """The mask of rows without padding."""
    return torch.ones(len(tokens), count, dtype=torch.long, device=tokens.device)


def _tokens(given: Mapping[str, Any]) -> Tensor:
    """The ids, or the embedded tokens that were given in their place."""
    ids = given.get("input_ids")
    tokens: Tensor = given["inputs_embeds"] if ids is None else ids
    return tokens


def _has_one_for_each(name: str, value: Any, room: Places) -> bool:
    """Whether an argument has a value for each token."""
    if not isinstance(value, Tensor) or name in _NOT_OF_TOKENS:
        return False
    return value.shape[:2] == (len(room.start), room.tokens)


def _require_flat(mask: Any) -> None:
    if mask is None or (isinstance(mask, Tensor) and mask.dim() == 2):
        return
    found = f"of {mask.dim()} dimensions" if isinstance(mask, Tensor) else f"a {type(mask).__name__}"
    raise ConfigError(
        f"A prompt needs an attention mask of one value for each token, and this one is {found}. Pass a mask of shape "
        '(rows, tokens); in generate use the cache_implementation "dynamic", which is the default.'
    )


def _require_counts(mask: Tensor | None, positions: Tensor | None, cached: int, new: int, length: int) -> None:
    """Refuse a pass over a cache that holds other than the prompt and all tokens before the new ones.

    The number of all tokens is the mask's length, and else follows from the last position (not from positions in three
    dimensions, of images).

    Raises:
        ConfigError: It is not what the cache, without the prompt, and the new tokens make.
    """
    tokens = None if mask is None else mask.shape[1]
    if tokens is None and positions is not None and positions.dim() == 2 and not torch.compiler.is_compiling():
        tokens = int(positions[-1, -1]) + 1
    if tokens is not None and cached > 0 and tokens != cached - length + new:
        raise ConfigError(
            f"The cache holds {cached} places, and with {length} of them the prompt's and {new} new tokens there are "
            f"{cached - length + new} tokens; the attention mask or the positions are for {tokens}. Fill the cache "
            "with the prompt on, and give a mask of all tokens without the prompt. To generate, beside a cache, give "
            "the ids of the new tokens alone."
        )


def _cached(given: Mapping[str, Any]) -> int:
    """How many places the cache holds; -1 if it does not say how many."""
    cache = next((value for value in given.values() if hasattr(value, "get_seq_length")), None)
    if cache is None:
        return 0
    try:
        return int(cache.get_seq_length())
    except ValueError:  # a cache of recurrent states alone
        return -1 if cache.has_previous_state() else 0


def _without_prompt(output: Any, room: Places) -> Any:
    """An output with every (rows, places, features) tensor in it at the tokens alone."""
    if isinstance(output, Tensor):
        return room.drop(output) if output.dim() == 3 and output.shape[:2] == room.longer else output
    if isinstance(output, tuple):
        return tuple(_without_prompt(item, room) for item in output)
    if isinstance(output, dict):
        for name in list(output):
            output[name] = _without_prompt(output[name], room)
    return output


def _is_ours(hook: Callable[..., Any]) -> bool:
    return isinstance(getattr(hook, "__self__", None), PromptPass)


def _remove_hooks(module: nn.Module) -> None:
    for hooks, with_kwargs in (
        (module._forward_hooks, module._forward_hooks_with_kwargs),
        (module._forward_pre_hooks, module._forward_pre_hooks_with_kwargs),
    ):
        for key in [key for key, hook in hooks.items() if _is_ours(hook)]:
            del hooks[key]
            with_kwargs.pop(key, None)
            module._forward_hooks_always_called.pop(key, None)


_SEAM = PromptSeam()
seam_of.register(PromptAdapter, lambda adapter: _SEAM)
