"""Loading a base model and its tokenizer, with every failure in one line."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from ..adapters.from_pretrained import from_pretrained
from ..adapters.quantisation_config import announce
from ..errors import InarchError, ModelError, shortened
from .quiet import quiet_transformers

if TYPE_CHECKING:
    from transformers import PreTrainedModel

# Tokenizers without a limit of their own say 10^30.
_NO_LIMIT = 10**9


@dataclass(frozen=True)
class Pretrained:
    """A base model as it was loaded.

    Attributes:
        model: The model, in evaluation mode.
        fresh: Names of parameters that the checkpoint does not hold, drawn at random: the new head, and what the
            backbone has beyond the checkpoint, such as BERT's pooler.
    """

    model: "PreTrainedModel"
    fresh: tuple[str, ...] = ()

    @property
    def fresh_backbone(self) -> tuple[str, ...]:
        """The fresh parameters outside the head; they must be trained and saved too, for nobody can draw them again."""
        prefix = f"{self.model.base_model_prefix}."
        return tuple(name for name in self.fresh if name.startswith(prefix))


def load_pretrained(auto_class: Any, name: str, quant: str | None = None, **settings: Any) -> Pretrained:
    """A model by one of transformers' Auto classes, from the hub or a local folder.

    Args:
        auto_class: Such as ``transformers.AutoModelForSequenceClassification``.
        name: A hub id or a local folder.
        quant: ``nf4``, ``fp4`` or ``int8``, to have its large linear maps in four or eight bits on the device they are
            trained on; else it is as it is stored.
        settings: Passed to ``from_pretrained``, such as ``num_labels``.

    Raises:
        ModelError: Not found, without weights, weights of another architecture, or not of the kind asked for.
        InarchError: It cannot be had in that ``quant``, as ``from_pretrained`` says.
    """
    _check_local(name)
    try:
        with quiet_transformers():
            settings |= {"output_loading_info": True, "ignore_mismatched_sizes": True}
            if quant is None:
                announce()  # a stored model may name it
                model, info = auto_class.from_pretrained(name, **settings)
            else:
                model, info = from_pretrained(auto_class, name, quant, device_map=_device_map(), **settings)
    except InarchError:
        raise
    except Exception as error:  # transformers and the hub client raise errors of many libraries
        raise ModelError(f"Cannot load the model {name}: {_first_line(error)}{_how_to_load(name)}") from error
    fresh = (*info["missing_keys"], *(key for key, *_ in info["mismatched_keys"]))
    _check_backbone(name, model, set(fresh))
    return Pretrained(model.eval(), tuple(sorted(fresh)))


def _device_map() -> dict[str, Any]:
    """The device that transformers' Trainer trains on."""
    return {"": torch.accelerator.current_accelerator() or torch.device("cpu")}


def load_tokenizer(name: str) -> Any:
    """The tokenizer of a model, with a padding token.

    Raises:
        ModelError: Not found, or without any token to pad with.
    """
    from transformers import AutoTokenizer

    _check_local(name)
    try:
        with quiet_transformers():
            tokenizer = AutoTokenizer.from_pretrained(name)
    except Exception as error:  # as above
        raise ModelError(f"Cannot load the tokenizer of {name}: {_first_line(error)}{_how_to_load(name)}") from error
    if not len(tokenizer):
        raise ModelError(f"{name} has no tokenizer files. Save the tokenizer into the folder with save_pretrained.")
    if tokenizer.pad_token is None:
        if tokenizer.eos_token is None:
            raise ModelError(f"The tokenizer of {name} has neither a pad_token nor an eos_token. Set its pad_token.")
        tokenizer.pad_token = tokenizer.eos_token  # as is usual for decoders; the attention mask hides it
    return tokenizer


def token_limit(model: "PreTrainedModel", tokenizer: Any) -> int:
    """The most tokens that both the model's positions and its tokenizer allow."""
    positions = getattr(model.config, "max_position_embeddings", None) or _NO_LIMIT
    limit = min(positions, tokenizer.model_max_length)
    return int(limit) if limit < _NO_LIMIT else 512


def _check_local(name: str) -> None:
    folder = Path(name)
    if not folder.is_dir():
        if folder.is_absolute():
            raise ModelError(f"There is no model folder {name}. Check the path, or give a hub id.")
        return
    if not (folder / "config.json").is_file():
        raise ModelError(f"The model folder {name} has no config.json. Give a folder made by save_pretrained.")
    if not any(folder.glob("*.safetensors")) and not any(folder.glob("*.bin")):
        raise ModelError(f"The model folder {name} has no weights (*.safetensors). Save them with save_pretrained.")


def _check_backbone(name: str, model: "PreTrainedModel", fresh: set[str]) -> None:
    prefix = f"{model.base_model_prefix}."
    backbone = [key for key, _ in model.named_parameters() if key.startswith(prefix)]
    if backbone and fresh.issuperset(backbone):
        raise ModelError(
            f"The weights of {name} hold nothing of a {type(model).__name__}: {shortened(backbone, 3)} are missing. "
            "Check that config.json and the weights belong together."
        )


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{(lines[0] if lines else type(error).__name__).rstrip('.')}. "


def _how_to_load(name: str) -> str:
    if Path(name).is_dir():
        return "Check that the folder is whole and of a model for this task."
    return "Check the id and the connection, or give a local folder."
