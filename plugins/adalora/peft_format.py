"""AdaLoRA as peft writes it."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from inarch import CheckpointError, Method, PeftFormat, Site

if TYPE_CHECKING:
    from .method import AdaLoRA


class AdaLoRAInPeft(PeftFormat):
    """peft's ``ADALORA``: its ``lora_A`` is Q, ``lora_B`` is P and ``lora_E`` is Lambda.

    While the ranks are still to be chosen peft reads the triplets as they are and leaves the averages out. The scale is
    alpha / initial_rank in both, before and after.
    """

    peft_type = "ADALORA"
    tensors = {"P": "lora_B", "Lambda": "lora_E", "Q": "lora_A"}  # noqa: RUF012

    # Options of peft's that change the function, with the values under which they do not.
    plain_values: Mapping[str, tuple[Any, ...]] = {
        "bias": ("none",),
        "layer_replication": (None,),
        "trainable_token_indices": (None,),
        "target_parameters": (None, []),
    }

    def config(self, method: Method, sites: Sequence[Site]) -> dict[str, Any]:
        """The entries of peft's ``AdaLoraConfig``; without a schedule its steps are one, since peft needs some."""
        from .method import AdaLoRA

        assert isinstance(method, AdaLoRA)
        schedule = method.schedule(method.steps, sites=1) if method.steps else None
        ranks = method.rank_pattern
        return {
            "init_r": method.initial_rank,
            "target_r": method.target_rank,
            "lora_alpha": method.alpha,
            "lora_dropout": method.dropout,
            "bias": "none",
            "fan_in_fan_out": False,
            "total_step": schedule.steps if schedule else 1,
            "tinit": schedule.initial_warmup if schedule else 0,
            "tfinal": schedule.final_warmup if schedule else 0,
            "deltaT": method.interval,
            "beta1": method.beta1,
            "beta2": method.beta2,
            "orth_reg_weight": method.orthogonality,
            "rank_pattern": None
            if ranks is None
            else {
                f"{site.name}.lora_E": [index < ranks[site.name] for index in range(method.initial_rank)]
                for site in sites
                if site.name in ranks
            },
        }

    def method(self, config: Mapping[str, Any], shapes: Mapping[str, Mapping[str, tuple[int, ...]]]) -> "AdaLoRA":
        """The settings, with the ranks that the tensors have: peft's files hold no averages to go on choosing by."""
        from .method import AdaLoRA

        for option, plain in self.plain_values.items():
            if config.get(option, plain[0]) not in plain:
                raise CheckpointError(
                    f"The checkpoint uses peft's {option}={config[option]!r}, which the method adalora does not have: "
                    "load it with peft."
                )
        initial = int(config["init_r"])
        alpha = float(config["lora_alpha"])
        return AdaLoRA(
            targets=tuple(shapes),
            initial_rank=initial,
            target_rank=min(int(config["target_r"]), initial),
            alpha=alpha if alpha > 0 else float(initial),
            dropout=float(config.get("lora_dropout") or 0.0),
            interval=int(config["deltaT"]),
            beta1=float(config["beta1"]),
            beta2=float(config["beta2"]),
            orthogonality=float(config["orth_reg_weight"]),
            rank_pattern={site: tensors["Lambda"][0] for site, tensors in shapes.items() if "Lambda" in tensors},
        )
