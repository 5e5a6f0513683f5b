"""LoRA as peft writes it."""

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from inarch import CheckpointError, Method, PeftFormat, Site, matches_name

if TYPE_CHECKING:
    from .method import LoRA

_NESTED = ("", "base_layer.", "base_layer.base_layer.")
"""What comes before the tensors of a module's last projection, of the one before it, and so on."""


class LoRAInPeft(PeftFormat):
    """peft's ``LoraConfig``; fused experts are its ``target_parameters``."""

    peft_type = "LORA"
    tensors = {f"{before}{key}": f"{before}{key}.weight" for before in _NESTED for key in ("lora_A", "lora_B")} | {
        "lora_magnitude_vector": "lora_magnitude_vector"
    }

    # Options of peft's that change the function, with the values under which they do not.
    plain_values: Mapping[str, tuple[Any, ...]] = {
        "bias": ("none",),
        "init_lora_weights": (True, False, None, "gaussian", "eva", "orthogonal"),  # others change the base
        "lora_bias": (False, None),
        "layer_replication": (None,),
        "alora_invocation_tokens": (None,),
        "use_qalora": (False, None),
        "use_bdlora": (None,),
        "arrow_config": (None,),
        "kasa_config": (None,),
        "monteclora_config": (None,),
        "velora_config": (None,),
        "trainable_token_indices": (None,),
    }

    def covers(self, method: Method, sites: Sequence[Site]) -> bool:
        """Not what starts by an SVD, which peft keeps in a changed base, nor the sites that peft computes otherwise."""
        lora = _lora(method)
        misread = any(site.experts for site in sites) and any(_is_misread(site.name) for site in sites)
        return lora.initialisation == "default" and not misread and all(_is_known(s, lora.dropout) for s in sites)

    def config(self, method: Method, sites: Sequence[Site]) -> dict[str, Any]:
        """The entries of peft's ``LoraConfig``; patterns name each site that differs, from its first letter on."""
        lora = _lora(method)
        ranks = {_pattern(site): lora.rank_at(site.name) for site in sites}
        alphas = {_pattern(site): lora.alpha_at(site.name) for site in sites}
        return {
            "r": lora.rank,
            "lora_alpha": lora.alpha,
            "lora_dropout": lora.dropout,
            "use_rslora": lora.rank_stabilised,
            "use_dora": lora.dora,
            "bias": "none",
            "fan_in_fan_out": False,
            "rank_pattern": {pattern: rank for pattern, rank in ranks.items() if rank != lora.rank},
            "alpha_pattern": {pattern: alpha for pattern, alpha in alphas.items() if alpha != lora.alpha},
            **_targets(sites),
        }

    def method(self, config: Mapping[str, Any], shapes: Mapping[str, Mapping[str, tuple[int, ...]]]) -> "LoRA":
        """The settings; ranks are read off the tensors."""
        from .method import LoRA

        for option, plain in self.plain_values.items():
            if config.get(option, plain[0]) not in plain:
                raise CheckpointError(
                    f"The checkpoint uses peft's {option}={config[option]!r}, which the method lora does not have: "
                    "load it with peft."
                )
        rank, alpha = int(config["r"]), float(config["lora_alpha"])
        rows = {site: tensors["lora_A"][0] for site, tensors in shapes.items() if "lora_A" in tensors}
        places = {site: _place(site, count, config) for site, count in rows.items()}
        return LoRA(
            targets=tuple(shapes),
            rank=rank,
            alpha=alpha,
            dropout=float(config.get("lora_dropout") or 0.0),
            rank_stabilised=bool(config.get("use_rslora")),
            rank_pattern={site: found for site, (found, _) in places.items() if found != rank},
            alpha_pattern={site: found for site, (_, found) in places.items() if found != alpha},
            dora=bool(config.get("use_dora")),
        )


def _lora(method: Method) -> "LoRA":
    from .method import LoRA  # here, since the method refers to its format

    assert isinstance(method, LoRA)
    return method


def _is_known(site: Site, dropout: float) -> bool:
    """Whether peft computes the same at this site."""
    module: Any = site.module
    if site.experts:
        return not dropout and site.experts.transposed == bool(getattr(module, "is_transposed", False))
    if site.kind == "convolution":  # peft's A has no groups, no dilation and no other padding than zeros
        plain = module.groups == 1 and module.padding_mode == "zeros"
        return plain and all(step == 1 for step in module.dilation)
    return True


def _is_misread(name: str) -> bool:
    """Whether peft takes a target of this name, beside fused experts, for a part of them before they were fused.

    So it does with the shared experts of DeepSeek V3; the names are those of its ``transformers_weight_conversion``.
    """
    return name.rpartition(".")[2] in {"gate", "gate_proj", "up_proj", "down_proj", "w1", "w2", "w3"}


def _targets(sites: Sequence[Site]) -> dict[str, list[str]]:
    """What peft is told to adapt beside what the core says, where fused experts are among the sites."""
    fused = [f"{site.name}.{name}" for site in sites if site.experts for name in site.experts.projections]
    modules = [site.name for site in sites if not site.experts]
    return {"target_modules": modules, "target_parameters": fused} if fused else {}


def _pattern(site: Site) -> str:
    """The key of a pattern that finds this site: its whole name, with any projection where it is fused experts."""
    return f"^{re.escape(site.name)}" + (r"\.\w+" if site.experts else "")


def _place(site: str, rows: int, config: Mapping[str, Any]) -> tuple[int, float]:
    """Rank and alpha at one site, from the rows of its A.

    For fused experts these are the rank times the number of experts, which the file does not say; the rank is then the
    configuration's.

    Raises:
        CheckpointError: The projections of fused experts differ in rank or alpha.
    """
    ranks, alphas = config.get("rank_pattern") or {}, config.get("alpha_pattern") or {}
    rank, alpha = config["r"], config["lora_alpha"]
    parameters = [target.rpartition(".") for target in config.get("target_parameters") or ()]
    keys = [f"{site}.{name}" for module, _, name in parameters if not module or matches_name(site, module)]
    if not keys or rows == _of_pattern(ranks, site, rank):
        return rows, _of_pattern(alphas, site, alpha)
    places = {(int(_of_pattern(ranks, key, rank)), _of_pattern(alphas, key, alpha)) for key in keys}
    if len(places) > 1:
        raise CheckpointError(
            f"The projections of {site} differ in rank or alpha, which the method lora does not have: load the "
            "checkpoint with peft."
        )
    return places.pop()


def _of_pattern(pattern: Mapping[str, float], site: str, default: float) -> float:
    """The value that peft's pattern gives a module: the first key that matches a whole ending of its name."""
    return next((float(value) for key, value in pattern.items() if re.match(rf"(.*\.)?({key})$", site)), float(default))
