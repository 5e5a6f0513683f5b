"""A checkpoint of a shape in bitsandbytes' four bits, for whoever loads models from a folder."""

import json
import shutil
from pathlib import Path
from typing import Any

import torch

from .build import as_inarch, build
from .shapes import Shape

QUANTISATION = {
    "quant_method": "bitsandbytes",
    "load_in_4bit": True,
    "bnb_4bit_quant_type": "nf4",
    "bnb_4bit_use_double_quant": True,
    "bnb_4bit_compute_dtype": "bfloat16",
    "bnb_4bit_quant_storage": "uint8",
}


def saved(shape: Shape, device: torch.device, scratch: Path) -> Path:
    """The folder of the checkpoint, written where it is not there; config and a tokenizer of words stand beside it."""
    folder = scratch / f"{shape.name}-bnb-4bit"
    if folder.exists():
        return folder
    from safetensors.torch import save_file

    unfinished = scratch / f"{folder.name}-unfinished"
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    model = build(shape, "nf4", as_inarch, device)
    tensors = {name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in model.state_dict().items()}
    if shape.others.get("tie_word_embeddings"):
        tensors.pop("lm_head.weight", None)
    save_file(tensors, str(unfinished / "model.safetensors"), metadata={"format": "pt"})
    config: dict[str, Any] = model.config.to_dict()
    config |= {
        "architectures": [type(model).__name__],
        "torch_dtype": "bfloat16",
        "quantization_config": QUANTISATION,
    }
    (unfinished / "config.json").write_text(json.dumps(config, indent=2, default=str))
    _tokenizer(shape.vocabulary).save_pretrained(unfinished)
    unfinished.rename(folder)
    return folder


def _tokenizer(vocabulary: int) -> Any:
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import WhitespaceSplit
    from transformers import PreTrainedTokenizerFast

    words = {"<unk>": 0, "<s>": 1, "</s>": 2, "<pad>": 3} | {f"w{number}": number for number in range(4, vocabulary)}
    tokenizer = Tokenizer(WordLevel(words, unk_token="<unk>"))
    tokenizer.pre_tokenizer = WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="<unk>", bos_token="<s>", eos_token="</s>", pad_token="<pad>"
    )
