import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import JambaConfig, LlamaConfig, PretrainedConfig, WavLMConfig

from inarch.cli.main import main

TINY = {"hidden_size": 32, "intermediate_size": 48, "num_attention_heads": 4, "vocab_size": 64}


def folder(tmp_path: Path, config: PretrainedConfig, architecture: str) -> str:
    config.architectures = [architecture]
    config.save_pretrained(tmp_path)
    return str(tmp_path)


@pytest.fixture
def llama(tmp_path: Path) -> str:
    return folder(tmp_path, LlamaConfig(**TINY, num_hidden_layers=3, num_key_value_heads=2), "LlamaForCausalLM")


def planned(capsys: pytest.CaptureFixture[str], *words: str) -> Any:
    assert main(["plan", *words, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def find(branch: dict[str, Any], *names: str) -> dict[str, Any]:
    for name in names:
        (branch,) = [below for below in branch["branches"] if below["name"] == name]
    return branch


def test_the_tree_shows_repeated_blocks_once(llama: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", llama, "--method", "lora"]) == 0
    out = capsys.readouterr().out
    assert out.splitlines()[0].split() == ["LlamaForCausalLM", "@model"]
    assert out.count("q_proj") == 1
    assert "layers.0-2 x 3  LlamaDecoderLayer  32  @block" in out
    assert "self_attn  LlamaAttention  keys 16, values 16  @attention" in out
    assert "k_proj  Linear  32 → 16  @attention.key" in out
    assert "lm_head  Linear  32 → 64  @head" in out
    # 3 layers x rank 8 x the two sides of q, o (32 + 32), k, v (32 + 16), gate, up and down (32 + 48)
    assert f"{3 * 8 * (2 * 64 + 2 * 48 + 3 * 80):,}" in out
    assert "unheard" not in out


def test_the_tree_as_json(llama: str, capsys: pytest.CaptureFixture[str]) -> None:
    found = planned(capsys, llama, "--method", "lora", "--method", "full")
    block = find(found["tree"], "model", "layers.0-2")
    assert (block["class"], block["count"], block["kind"]) == ("LlamaDecoderLayer", 3, "block")
    query = find(block, "self_attn", "q_proj")
    assert query["roles"] == ["attention.query", "linear", "sublayer.input"]
    assert (query["in_features"], query["out_features"], query["unheard"]) == (32, 32, "")
    assert {row["method"]: row["coverage"] for row in found["methods"]} == {"lora": 1.0, "full": 1.0}
    assert found["unheard"] == {}


def test_unlike_blocks_stand_each_for_itself(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = JambaConfig(**TINY, num_hidden_layers=4, num_key_value_heads=2, attn_layer_period=4, attn_layer_offset=2)
    tree = planned(capsys, folder(tmp_path, config, "JambaForCausalLM"), "--method", "lora")["tree"]
    names = {below["name"]: below["class"] for below in find(tree, "model", "layers")["branches"]}
    assert names["2"] == "JambaAttentionDecoderLayer"
    assert "JambaMambaDecoderLayer" in names.values()


def test_unheard_parts_are_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = WavLMConfig(
        **TINY, num_hidden_layers=2, conv_dim=(8,), conv_kernel=(3,), conv_stride=(2,), num_conv_pos_embedding_groups=4
    )
    model = folder(tmp_path, config, "WavLMModel")
    assert main(["plan", model, "--method", "lora"]) == 0
    out = capsys.readouterr().out
    assert "WavLMAttention reads its weight without calling it" in " ".join(out.split())
    found = planned(capsys, model, "--method", "lora")
    assert {name.rpartition(".")[2] for name in found["unheard"]} == {"q_proj", "k_proj", "v_proj", "out_proj"}
    assert found["methods"][0]["unheard"] == list(found["unheard"])


def test_a_method_that_the_model_has_no_place_for_says_why(llama: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", llama, "--method", "bitfit", "--method", "lora"]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert 'bitfit: no part of this model has the role "@bias"' in out


def test_no_weights_are_made(llama: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []
    plain = torch.nn.Module.register_parameter

    def register(self: torch.nn.Module, name: str, parameter: torch.nn.Parameter | None) -> None:
        made.extend([str(parameter.device)] if parameter is not None else [])
        plain(self, name, parameter)

    monkeypatch.setattr(torch.nn.Module, "register_parameter", register)
    planned(capsys, llama, "--method", "lora")
    assert set(made) == {"meta"}
