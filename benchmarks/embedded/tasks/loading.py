"""Loading a base with a head for a task, so that the head is the same on every base of one shape."""

from typing import Any

import torch
from torch import nn

from inarch import ModelError
from inarch_benchmarks.comparison.model import Base
from inarch_benchmarks.comparison.quiet import quiet_transformers


def loaded(kind: Any, base: Base, seed: int, *, pretrained: bool, new_head: bool = False, **settings: Any) -> nn.Module:
    """A base in evaluation mode.

    What the base has no weights for, its new head, is drawn by ``seed`` alone and is thus the same with pretrained
    weights and without.

    Args:
        kind: One of the ``Auto...`` classes of transformers.
        base: What to load.
        seed: Draws the new weights.
        pretrained: Whether the stored weights are used; if not, all are drawn.
        new_head: Whether everything outside the backbone is drawn, stored or not.
        **settings: Of the config.

    Raises:
        ModelError: There is no such model there.
    """
    from transformers import AutoConfig

    try:
        with quiet_transformers(), torch.random.fork_rng():
            config = AutoConfig.from_pretrained(base.place, **settings)
            torch.manual_seed(seed)
            model = kind.from_config(config)
            if pretrained:
                model = _with_weights(model, kind, base, config, new_head)
    except (OSError, ValueError) as error:
        raise ModelError(f"{base.name} cannot be loaded with {kind.__name__} from {base.place}: {error}") from error
    ready: nn.Module = model.eval()
    return ready


def _with_weights(drawn: nn.Module, kind: Any, base: Base, config: Any, new_head: bool) -> Any:
    """The stored model, with the parameters that are not stored, or not wanted, taken from ``drawn``."""
    model, report = kind.from_pretrained(
        base.place, config=config, output_loading_info=True, ignore_mismatched_sizes=new_head
    )
    backbone = f"{model.base_model_prefix}."
    parameters = dict(drawn.named_parameters())
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name in report["missing_keys"] or (new_head and not name.startswith(backbone)):
                parameter.copy_(parameters[name])
    return model
