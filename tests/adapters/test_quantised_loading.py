"""Loading in four and eight bits, held against quantising after loading and against bitsandbytes' own files."""

import copy
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import (
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    BertConfig,
    BertForMaskedLM,
    BertForSequenceClassification,
    BitsAndBytesConfig,
    Dinov2Config,
    Dinov2Model,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    Qwen2MoeConfig,
    Qwen2MoeForCausalLM,
    T5Config,
    T5ForConditionalGeneration,
)

import inarch
from inarch.adapters.from_pretrained import from_pretrained
from inarch.adapters.quantisation_config import Quantization
from inarch.errors import ConfigError, FormatError, ModelError, PlanError, UnknownNameError
from inarch.quant import FourBitLinear, Int8Linear, QuantisedLinear

from sampled import each_once, one_of

TOKENS = torch.randint(3, 40, (2, 9), generator=torch.Generator().manual_seed(0))
WIDTH = 64
SIZES = {"hidden_size": WIDTH, "intermediate_size": 2 * WIDTH, "num_hidden_layers": 2, "num_attention_heads": 4}
IDS = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}


def llama(**settings: Any) -> Any:
    return LlamaForCausalLM(LlamaConfig(vocab_size=40, **SIZES, **settings))


def gpt2() -> Any:
    return GPT2LMHeadModel(GPT2Config(vocab_size=40, n_embd=WIDTH, n_layer=2, n_head=4, n_positions=32, **IDS))


def bert() -> Any:
    return BertForSequenceClassification(BertConfig(vocab_size=40, num_labels=3, **SIZES))


def t5() -> Any:
    sizes = {"d_model": WIDTH, "d_ff": 2 * WIDTH, "d_kv": 16, "num_layers": 2, "num_heads": 4}
    return T5ForConditionalGeneration(T5Config(vocab_size=40, decoder_start_token_id=0, **sizes))


def moe() -> Any:
    sizes = {
        "num_experts": 4,
        "moe_intermediate_size": WIDTH,
        "shared_expert_intermediate_size": WIDTH,
        "num_key_value_heads": 4,
    }
    return Qwen2MoeForCausalLM(Qwen2MoeConfig(vocab_size=40, **SIZES, **sizes))


def dinov2() -> Any:
    """Its checkpoints hold one weight where the model has a gate and an up projection."""
    sizes = {"hidden_size": WIDTH, "num_hidden_layers": 2, "num_attention_heads": 4, "image_size": 28, "patch_size": 14}
    return Dinov2Model(Dinov2Config(use_swiglu_ffn=True, **sizes))


MODELS: dict[str, Callable[[], Any]] = {
    "llama": llama,
    "gpt2": gpt2,
    "bert": bert,
    "t5": t5,
    "moe": moe,
    "dinov2": dinov2,
}
KINDS = ("nf4", "fp4", "int8")


def made(name: str, seed: int = 0) -> Any:
    torch.manual_seed(seed)
    return MODELS[name]().eval()


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Each model as a checkpoint in floating point, in several files."""
    found = {name: tmp_path_factory.mktemp(name) for name in MODELS}
    for name, folder in found.items():
        made(name).save_pretrained(folder, max_shard_size="60KB")
        assert len(list(folder.glob("*.safetensors"))) > 2
    return found


def streamed(name: str, folder: Path, kind: str, **settings: Any) -> Any:
    return type(made(name)).from_pretrained(folder, quantization_config=Quantization(kind), **settings)


def same(one: nn.Module, other: nn.Module) -> None:
    first, second = one.state_dict(), other.state_dict()
    assert first.keys() == second.keys()
    assert [name for name in first if first[name].dtype != second[name].dtype] == []
    assert [name for name in first if not torch.equal(first[name], second[name])] == []
    assert not any(parameter.is_meta for parameter in one.parameters())


def maps(model: nn.Module, *types: type[nn.Module]) -> set[str]:
    return {name for name, module in model.named_modules() if isinstance(module, types)}


def output(model: Any) -> torch.Tensor:
    with torch.no_grad():
        if isinstance(model, Dinov2Model):
            return model(torch.ones(1, 3, 28, 28)).last_hidden_state
        labels = {"labels": TOKENS} if isinstance(model, T5ForConditionalGeneration) else {}
        return model(TOKENS, **labels).logits


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", MODELS)
def test_it_is_what_quantising_after_loading_gives(name: str, kind: str, folders: dict[str, Path]) -> None:
    after = made(name)
    inarch.quantize(after, kind)
    found = streamed(name, folders[name], kind)
    same(found, after)
    assert maps(found, QuantisedLinear) == maps(after, QuantisedLinear) != set()
    assert found.is_quantized
    assert torch.equal(output(found), output(after))


@each_once(name=MODELS, kind=KINDS)
def test_what_is_saved_is_loaded_to_the_bit(name: str, kind: str, folders: dict[str, Path], tmp_path: Path) -> None:
    found = streamed(name, folders[name], kind)
    found.save_pretrained(tmp_path / "a", max_shard_size="40KB")
    again = from_pretrained(type(found), str(tmp_path / "a"))
    same(again, found)
    assert torch.equal(output(again), output(found))
    again.save_pretrained(tmp_path / "b")
    same(from_pretrained(type(found), str(tmp_path / "b"), kind), found)
    # and what was quantised in place is saved as well
    after = made(name)
    inarch.quantize(after, kind)
    after.save_pretrained(tmp_path / "c")
    same(from_pretrained(type(found), str(tmp_path / "c")), found)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", [name for name in MODELS if name != "moe"])
def test_bitsandbytes_loads_what_is_saved(name: str, kind: str, folders: dict[str, Path], tmp_path: Path) -> None:
    import bitsandbytes

    found = streamed(name, folders[name], kind)
    found.save_pretrained(tmp_path)
    theirs = type(found).from_pretrained(tmp_path)
    layers = (bitsandbytes.nn.Linear4bit, bitsandbytes.nn.Linear8bitLt)
    assert maps(theirs, *layers) == maps(found, QuantisedLinear)
    # the same weights by both libraries' reading of them
    for at in maps(theirs, *layers):
        one, other = (inarch.weight_format(model.get_submodule(at)) for model in (theirs, found))
        assert torch.equal(
            one.dequantised(theirs.get_submodule(at)).float(),
            other.dequantised(found.get_submodule(at)).to(torch.float16 if kind == "int8" else torch.float32).float(),
        )


BITSANDBYTES: dict[str, dict[str, Any]] = {
    "nf4": {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4", "bnb_4bit_use_double_quant": True},
    "fp4": {"load_in_4bit": True, "bnb_4bit_quant_type": "fp4"},
    "int8": {"load_in_8bit": True},
}


@pytest.mark.parametrize("dtype", one_of([torch.bfloat16, torch.float32]))
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["llama", "gpt2", "bert", "t5"])
def test_what_bitsandbytes_saved_is_loaded(
    name: str, kind: str, dtype: torch.dtype, folders: dict[str, Path], tmp_path: Path
) -> None:
    theirs = type(made(name)).from_pretrained(
        folders[name], quantization_config=BitsAndBytesConfig(**BITSANDBYTES[kind]), dtype=dtype
    )
    theirs.save_pretrained(tmp_path / "theirs")
    found = from_pretrained(type(theirs), str(tmp_path / "theirs"), kind, dtype=dtype)
    assert maps(found, QuantisedLinear) == {
        at for at, module in theirs.named_modules() if type(module).__name__ in ("Linear4bit", "Linear8bitLt")
    }
    expected, state = theirs.state_dict(), found.state_dict()
    assert expected.keys() == state.keys()
    facts = [key for key in state if "quant_state" in key]
    assert all(json.loads(bytes(state[key])) == json.loads(bytes(expected[key])) for key in facts)
    assert [key for key in state if key not in facts and not torch.equal(state[key], expected[key])] == []
    assert {parameter.dtype for parameter in found.parameters() if parameter.is_floating_point()} == {dtype}
    found.save_pretrained(tmp_path / "ours")
    same(from_pretrained(type(theirs), str(tmp_path / "ours"), dtype=dtype), found)


def test_the_config_says_how_bitsandbytes_loads_it(folders: dict[str, Path], tmp_path: Path) -> None:
    found = streamed("gpt2", folders["gpt2"], "nf4", dtype=torch.bfloat16)
    found.save_pretrained(tmp_path)
    written = json.loads((tmp_path / "config.json").read_text())["quantization_config"]
    assert written["quant_method"] == "bitsandbytes"
    assert written["load_in_4bit"]
    assert not written["load_in_8bit"]
    assert written["bnb_4bit_quant_type"] == "nf4"
    assert written["bnb_4bit_use_double_quant"]
    assert written["bnb_4bit_compute_dtype"] == "bfloat16"
    assert written["llm_int8_skip_modules"] == ["lm_head"]
    # fused experts are nothing that transformers loads through bitsandbytes
    streamed("moe", folders["moe"], "nf4").save_pretrained(tmp_path / "moe")
    written = json.loads((tmp_path / "moe" / "config.json").read_text())["quantization_config"]
    assert written == {"quant_method": "inarch", "kind": "nf4"}


def test_a_config_is_kept_by_copies_and_by_json() -> None:
    config = Quantization("int8")
    assert copy.deepcopy(config).kind == Quantization.from_dict(json.loads(config.to_json_string())).kind == "int8"


@pytest.mark.parametrize("device_map", [None, "cpu", {"": "cpu"}, "auto"])
def test_device_maps_and_dtypes(device_map: Any, folders: dict[str, Path]) -> None:
    after = type(made("llama")).from_pretrained(folders["llama"], dtype=torch.bfloat16)
    inarch.quantize(after, "nf4")
    found = streamed("llama", folders["llama"], "nf4", device_map=device_map, dtype=torch.bfloat16)
    same(found.cpu(), after)


def test_parts_of_a_checkpoint_and_more_than_it(folders: dict[str, Path], tmp_path: Path) -> None:
    found = AutoModel.from_pretrained(folders["llama"], quantization_config=Quantization("nf4"))
    whole = streamed("llama", folders["llama"], "nf4")
    same(found, whole.model)
    whole.save_pretrained(tmp_path)
    same(from_pretrained(AutoModel, str(tmp_path)), whole.model)
    larger = from_pretrained(AutoModelForSequenceClassification, str(tmp_path), num_labels=7)
    same(larger.model, whole.model)
    assert larger.score.weight.shape == (7, WIDTH)
    assert larger.score.weight.is_floating_point()


def test_weights_that_a_checkpoint_lacks_are_drawn_and_stay_in_floating_point(tmp_path: Path) -> None:
    BertForMaskedLM(BertConfig(vocab_size=40, **SIZES)).save_pretrained(tmp_path)
    found = from_pretrained(BertForSequenceClassification, str(tmp_path), "nf4")
    pooler = found.bert.pooler.dense
    assert type(pooler) is nn.Linear
    assert 0.01 < pooler.weight.std().item() < 0.03  # BERT's initializer_range is 0.02
    assert not pooler.bias.any()
    assert isinstance(found.bert.encoder.layer[0].output.dense, FourBitLinear)


def test_a_bias_that_a_checkpoint_lacks_is_drawn(folders: dict[str, Path], tmp_path: Path) -> None:
    model = made("bert")
    state = {key: value for key, value in model.state_dict().items() if not key.endswith("layer.0.output.dense.bias")}
    model.save_pretrained(tmp_path, state_dict=state)
    found = from_pretrained(BertForSequenceClassification, str(tmp_path), "int8")
    dense = found.bert.encoder.layer[0].output.dense
    assert isinstance(dense, Int8Linear)
    assert dense.bias is not None
    assert not dense.bias.any()


def test_one_weight_in_floating_point_at_a_time(folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """Counted by what is there while each is quantised: none of those before it, whole or as a view."""
    import weakref

    from inarch.kernels import FourBit

    before: list[weakref.ref[Any]] = []
    alive: list[int] = []
    quantise = FourBit.quantise

    def counted(weight: torch.Tensor, *arguments: Any, **settings: Any) -> FourBit:
        alive.append(sum(reference() is not None for reference in before))
        before.append(weakref.ref(weight.untyped_storage()))
        return quantise(weight, *arguments, **settings)

    monkeypatch.setattr(FourBit, "quantise", counted)
    found = streamed("llama", folders["llama"], "nf4")
    assert len(alive) == len(maps(found, QuantisedLinear)) == 14
    assert set(alive) == {0}


def test_an_adapter_on_a_streamed_base_goes_onto_the_floats(folders: dict[str, Path], tmp_path: Path) -> None:
    adapter = inarch.attach(streamed("llama", folders["llama"], "nf4"), "lora")
    adapter.save(tmp_path)
    inarch.load(made("llama"), tmp_path)
    with pytest.raises(inarch.WrongBaseError):
        inarch.load(made("llama", seed=1), tmp_path)


@pytest.fixture
def stored(folders: dict[str, Path], tmp_path: Path) -> Path:
    """A quantised checkpoint to spoil."""
    streamed("llama", folders["llama"], "nf4").save_pretrained(tmp_path)
    return tmp_path


DOWN = "model.layers.0.mlp.down_proj.weight"


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda state: state.pop(f"{DOWN}.absmax"), f"{DOWN} lacks absmax"),
        (lambda state: state.pop(f"{DOWN}.quant_state.bitsandbytes__nf4"), f"{DOWN} has no quant_state"),
        (lambda state: state.pop(DOWN), f"{DOWN} lacks itself"),
        (lambda state: state.update({f"{DOWN}.absmax": state[f"{DOWN}.absmax"][:-1]}), f"{DOWN} of shape .* absmax"),
        (lambda state: state.update({DOWN: state[DOWN][:-1]}), f"{DOWN} of shape .* weight"),
        (
            lambda state: state.update({f"{DOWN}.quant_state.bitsandbytes__nf4": torch.zeros(3, dtype=torch.uint8)}),
            f"quantisation state of {DOWN} cannot be read",
        ),
        (
            lambda state: state.update(
                {key.replace("mlp.down_proj", "mlp.up_proj"): state[key] for key in list(state) if DOWN in key}
            ),
            r"mlp.up_proj.weight is of shape \(64, 128\) in the file and \(128, 64\) in the model",
        ),
    ],
)
def test_a_spoiled_file_is_refused_by_the_name_of_the_tensor(
    spoil: Callable[[dict[str, Any]], Any], says: str, stored: Path
) -> None:
    file = stored / "model.safetensors"
    state = load_file(file)
    spoil(state)
    save_file({key: value.clone() for key, value in state.items()}, file, {"format": "pt"})
    with pytest.raises(FormatError, match=says):
        from_pretrained(LlamaForCausalLM, str(stored))


def test_files_that_cannot_be_read(stored: Path) -> None:
    file = stored / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(ModelError, match=r"model\.safetensors cannot be read"):
        from_pretrained(LlamaForCausalLM, str(stored))


def test_wrong_requests_say_what_to_do(stored: Path, folders: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match='There is no quantisation "nf5": did you mean "nf4"'):
        Quantization("nf5")
    with pytest.raises(UnknownNameError, match='There is no quantisation "nf5"'):
        from_pretrained(LlamaForCausalLM, str(stored), "nf5")
    with pytest.raises(ConfigError, match="is stored in nf4, not int8"):
        from_pretrained(LlamaForCausalLM, str(stored), "int8")
    with pytest.raises(ConfigError, match="is stored in floating point"):
        from_pretrained(LlamaForCausalLM, str(folders["llama"]))
    with pytest.raises(ModelError, match="cannot be offloaded"):
        streamed("llama", folders["llama"], "nf4", device_map={"model": "cpu", "lm_head": "disk"})
    config = json.loads((stored / "config.json").read_text())
    config["quantization_config"] = {"quant_method": "gptq", "bits": 4}
    (stored / "config.json").write_text(json.dumps(config))
    with pytest.raises(FormatError, match="is quantised by gptq"):
        from_pretrained(LlamaForCausalLM, str(stored))
    small = LlamaForCausalLM(
        LlamaConfig(vocab_size=40, hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2)
    )
    small.save_pretrained(tmp_path / "small")
    with pytest.raises(PlanError, match="Nothing in this LlamaForCausalLM can be quantised"):
        from_pretrained(AutoModelForCausalLM, str(tmp_path / "small"), "nf4")


def test_a_checkpoint_of_other_sizes_is_refused(folders: dict[str, Path], tmp_path: Path) -> None:
    shutil.copytree(folders["llama"], tmp_path, dirs_exist_ok=True)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "intermediate_size": 192}))
    with pytest.raises((RuntimeError, ModelError), match=r"mlp\.down_proj\.weight|mismatched"):
        streamed("llama", tmp_path, "nf4")
