"""Stand-ins for what is on the hub: files with its columns, tiny models as papers' checkpoints are, short training."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import (
    BartConfig,
    BartForConditionalGeneration,
    BertConfig,
    BertForMaskedLM,
    LlamaConfig,
    LlamaForCausalLM,
    RobertaConfig,
    RobertaForMaskedLM,
)

import inarch
from inarch_benchmarks.comparison import Base

WORDS = ["good", "great", "bad", "awful", "film", "book", "song", "very", "not", "the", "a", "is", "同", "好", "坏"]
SIGNS = ["Question", ":", "Answer", ".", "Think", "step", "by", "The", "answer", "####", "?", "\n"]
VOCABULARY = ["[PAD]", "[UNK]", "[BOS]", "[EOS]", *WORDS, *SIGNS, *map(str, range(10))]
SIZES = {"train": 40, "validation": 12, "test": 12}


def write(folder: Path, place: str, split: str, rows: Sequence[Mapping[str, Any]]) -> None:
    file = folder / place / f"{split}.jsonl"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def tokenizer() -> Any:
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    vocabulary = {word: index for index, word in enumerate(VOCABULARY)}
    inner = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    inner.post_processor = processors.TemplateProcessing(
        single="[BOS] $A", pair="[BOS] $A [EOS] $B", special_tokens=[("[BOS]", 2), ("[EOS]", 3)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=inner,
        pad_token="[PAD]",
        unk_token="[UNK]",
        bos_token="[BOS]",
        eos_token="[EOS]",
        model_max_length=64,
    )


_SHAPE: dict[str, Any] = {
    "vocab_size": 48,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "max_position_embeddings": 72,
    "initializer_range": 0.1,  # so small a network hardly learns from less
}
_TOKENS = {"pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3}


def _saved(model: Any, folder: Path) -> Base:
    model.save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    return Base(folder.name, str(folder), folder.name)


def make_bases(folder: Path) -> dict[str, Base]:
    """Tiny random models of masked or causal language modelling, without a new head."""
    torch.manual_seed(0)
    llama = LlamaForCausalLM(LlamaConfig(**_SHAPE, num_key_value_heads=1, tie_word_embeddings=True, **_TOKENS))
    assert llama.generation_config is not None
    llama.generation_config.update(do_sample=True, temperature=0.6, top_p=0.9)  # as Llama-3.2-3B has it
    bart = BartConfig(
        vocab_size=48,
        d_model=32,
        encoder_layers=2,
        decoder_layers=2,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=64,
        decoder_ffn_dim=64,
        max_position_embeddings=72,
        init_std=0.1,
        decoder_start_token_id=3,
        forced_eos_token_id=3,
        **_TOKENS,
    )
    return {
        "roberta": _saved(RobertaForMaskedLM(RobertaConfig(**_SHAPE, **_TOKENS)), folder / "roberta"),
        "bert": _saved(BertForMaskedLM(BertConfig(**_SHAPE)), folder / "bert"),
        "llama": _saved(llama, folder / "llama"),
        "bart": _saved(BartForConditionalGeneration(bart), folder / "bart"),
    }


def train(model: Any, task: Any, lessons: Any, steps: int, rate: float = 5e-3, method: str = "lora") -> list[float]:
    """Adapts a model as a run would; the loss at each step."""
    torch.manual_seed(0)
    adapter = inarch.attach(model, method, train=task.fresh(model))
    optimizer = torch.optim.AdamW(adapter.parameters(), lr=rate)
    generator = torch.Generator().manual_seed(0)
    losses = []
    model.train()
    for _ in range(steps):
        rows = torch.randint(len(lessons.training), (8,), generator=generator).tolist()
        loss = model(**lessons.training.batch(rows)).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(float(loss.detach()))
    model.eval()
    return losses
