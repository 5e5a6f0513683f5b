"""Loading a base model in four or eight bits, from floats or from what bitsandbytes or this package has stored."""

from typing import Any

from ..errors import ConfigError, ModelError
from .quantisation import require_kind
from .quantisation_config import METHOD, Quantization, announce, stored_kind

_HUB = ("cache_dir", "force_download", "local_files_only", "proxies", "revision", "subfolder", "token")


def from_pretrained(auto_class: Any, name: str, kind: str | None = None, **settings: Any) -> Any:
    """A model by one of transformers' classes, with its large linear maps in four or eight bits.

    A model that is stored in floating point is quantised tensor by tensor as it is read, each on the device it is for;
    one that bitsandbytes or ``inarch.quantize`` quantised keeps its bytes.

    Args:
        auto_class: Such as ``transformers.AutoModelForCausalLM``.
        name: A hub id or a local folder.
        kind: ``nf4``, ``fp4`` or ``int8``; for a stored quantised model it may be left out.
        settings: Passed to ``from_pretrained``, such as ``dtype`` and ``device_map``.

    Raises:
        UnknownNameError: There is no such kind.
        ConfigError: The model is stored in another kind, or in floating point while no kind is given.
        FormatError: It is quantised by another library, or what is stored is not whole.
        PlanError: Nothing in it can be quantised.
    """
    if kind is not None:
        require_kind(kind)
    hub = {key: settings[key] for key in _HUB if key in settings}
    written = _written(name, settings.get("config"), hub)
    if written is None:
        if kind is None:
            raise ConfigError(f"{name} is stored in floating point: say into what to quantise it: nf4, fp4 or int8.")
        return auto_class.from_pretrained(name, quantization_config=Quantization(kind), **settings)
    held = stored_kind(written, name)
    if kind not in (None, held):
        raise ConfigError(f"{name} is stored in {held}, not {kind}: ask for {held}, or take one in floating point.")
    config, rest = _config(name, settings)
    announce()
    config.quantization_config = {"quant_method": METHOD, "kind": held}
    return auto_class.from_pretrained(name, config=config, **{**hub, **rest})


def _written(name: str, config: Any, hub: dict[str, Any]) -> Any:
    """The ``quantization_config`` of a stored model."""
    from transformers import PretrainedConfig

    if config is not None:
        found = getattr(config, "quantization_config", None)
        return found if found is None or isinstance(found, dict) else found.to_dict()
    content, _ = PretrainedConfig.get_config_dict(name, **hub)
    if not content:
        raise ModelError(f"{name} has no config.json. Check the id, or give a folder made by save_pretrained.")
    return content.get("quantization_config")


def _config(name: str, settings: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """The config of a stored model with the settings that are the config's, and the other settings."""
    from transformers import AutoConfig

    rest = dict(settings)
    config = rest.pop("config", None)
    if config is not None:
        return config, rest
    aside = {key: rest.pop(key) for key in ("dtype", "trust_remote_code") if key in rest}
    trust = {key: aside[key] for key in aside if key != "dtype"}
    config, unused = AutoConfig.from_pretrained(name, return_unused_kwargs=True, **trust, **rest)
    return config, {**unused, **aside}
