"""What the listing says of peft's methods, against what peft's documentation and code say."""

import json

import pytest
import torch
from transformers import AutoModelForCausalLM, BitsAndBytesConfig, LlamaConfig, LlamaForCausalLM

import inarch
from inarch.errors import PlanError
from inarch_plugins.peft_bridge import record
from inarch_plugins.peft_bridge.library import configs
from inarch_plugins.peft_bridge.support import tried

from .conftest import small
from families import assert_same, logits, snapshot

CAUSAL = {"input_ids": torch.arange(3, 15).reshape(2, 6)}


def supports(method: str) -> dict[str, object]:
    return dict(inarch.methods()[f"peft/{method}"].supports)


def test_of_layers() -> None:
    # peft's message of a layer that LoRA refuses names those that it takes
    assert supports("lora")["modules"] == ["Linear", "Conv1D", "Conv2d", "Embedding"]
    assert supports("lora")["merge"] is True
    assert supports("lora")["quantised"] == ["4bit", "8bit"]
    assert "eva_config" in supports("lora")["lacks"]  # type: ignore[operator]
    assert supports("beft")["modules"] == ["Linear"]
    assert supports("ln_tuning")["modules"][-1] == "LayerNorm"  # type: ignore[index]


def test_of_what_cannot_be_merged() -> None:
    for method in ("lily", "poly", "prompt_tuning", "adaption_prompt"):
        assert supports(method)["merge"] is False, method


def test_of_tasks_and_settings() -> None:
    assert supports("cpt")["tasks"] == ["CAUSAL_LM"]
    assert len(supports("prompt_tuning")["tasks"]) > 1  # type: ignore[arg-type]
    assert supports("prompt_tuning")["needs"] == ["num_virtual_tokens"]
    assert supports("adalora")["needs"] == ["total_step"]
    assert "use_cache" in str(supports("xlora")["refuses"])


@pytest.mark.thorough
def test_what_is_listed_is_what_trying_finds() -> None:
    """For every method, with the random numbers left as they are."""
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    assert record.versions() == json.loads(record.RECORD.read_text())["versions"]
    assert {name: supports(name.lower()) for name in configs()} == {name: tried(name) for name in configs()}
    assert torch.equal(torch.rand(1), expected)


def test_with_other_versions_it_is_tried_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(record, "versions", lambda: {"peft": "99", "bitsandbytes": "99"})
    monkeypatch.setattr("inarch_plugins.peft_bridge.support.tried", lambda name: {"tried": name})
    assert supports("oft") == {"tried": "OFT"}


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> str:
    sizes = {"hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 4}
    torch.manual_seed(0)
    folder = str(tmp_path_factory.mktemp("base"))
    LlamaForCausalLM(LlamaConfig(vocab_size=64, **sizes)).save_pretrained(folder)
    return folder


# bitsandbytes tells of the layers it has on a CPU
@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize(
    ("bits", "method", "refused"),
    [
        (4, "lora", ""),
        (8, "lora", ""),
        (4, "oft", ""),
        (8, "hra", "as if it were not quantised"),
        (4, "hra", "peft says"),
    ],
)
def test_quantised_weights_are_adapted_or_refused(bits: int, method: str, refused: str, saved: str) -> None:
    config = BitsAndBytesConfig(load_in_4bit=bits == 4, load_in_8bit=bits == 8)
    # in training, since in evaluation bitsandbytes packs its weights on a CPU anew, for inference alone
    model = AutoModelForCausalLM.from_pretrained(saved, quantization_config=config).train()
    before, base = snapshot(model), logits(model, CAUSAL)
    if refused:
        with pytest.raises(PlanError, match=refused):
            inarch.attach(model, f"peft/{method}", **small(method))
    else:
        adapter = inarch.attach(model, f"peft/{method}", **small(method))
        torch.testing.assert_close(logits(model, CAUSAL), base, rtol=0.02, atol=0.02)
        model(**CAUSAL).logits.sum().backward()
        assert all(parameter.grad is not None for parameter in adapter.parameters())
        adapter.detach()
    assert_same(before, snapshot(model))
    assert torch.equal(logits(model, CAUSAL), base)
