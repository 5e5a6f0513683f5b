from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import inarch
from inarch.adapters import anatomy
from inarch.adapters.part_code import part_code
from inarch.errors import TargetError

from architectures import made, run


def parts_of(key: str) -> Any:
    return anatomy(made(key)).parts


class Reads(nn.Module):
    """Reads the weight of one, calls another, asks a third for its dtype alone, and hands on a fourth."""

    def __init__(self) -> None:
        super().__init__()
        self.read, self.called, self.asked, self.handed = (nn.Linear(4, 4) for _ in range(4))
        self.sometimes = nn.Linear(4, 4)
        self.inner = nn.ModuleDict({"deep": nn.Linear(4, 4)})

    def forward(self, x: Tensor) -> Tensor:
        x = functional.linear(x.to(self.asked.weight.dtype), self.read.weight, self.read.bias)
        return self.finish(self.asked(self.called(x)))

    def finish(self, x: Tensor) -> Tensor:
        if x.shape[0] > 2:
            x = x @ self.sometimes.weight.T
        return apply(self.handed, self.sometimes(x))


def apply(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    return function(x)


def test_a_module_that_is_read_and_never_called_is_unheard() -> None:
    parts = anatomy(Reads()).parts
    assert {name for name, part in parts.items() if part.unheard} == {"read"}
    assert parts["read"].unheard == "Reads reads its weight without calling it."
    assert not parts["read"].suits(("linear",))


def test_a_target_that_is_unheard_is_refused_and_by_default_left_out_and_reported() -> None:
    with pytest.raises(TargetError, match="read: Reads reads its weight without calling it"):
        inarch.plan(Reads(), "lora", targets=("read",))
    report = inarch.plan(Reads(), "lora", rank=2).report()
    assert report.unheard == ("read",)
    assert report.unreached == ("read",)
    assert "unheard    read" in str(report)
    assert report.to_dict()["unheard"] == ["read"]


def test_an_installed_kernel_makes_what_it_may_read_unheard() -> None:
    def chosen(is_new_implementation: bool) -> Callable[[Tensor, Tensor], Tensor | None]:
        def fused(x: Tensor, weight: Tensor) -> Tensor | None:
            return x @ weight.T if is_new_implementation else None

        return fused

    def model(installed: bool) -> nn.Module:
        namespace = {"fused": chosen(installed), "nn": nn, "__name__": "somewhere"}
        source = """
class Mixer(nn.Module):
    def __init__(self):
        super().__init__()
        self.out = nn.Linear(4, 4)

    def forward(self, x):
        y = fused(x, self.out.weight)
        return self.out(x) if y is None else y
"""
        namespace["fused"].__module__ = "somewhere"
        exec(source, namespace)  # a class that finds the function among its globals
        return namespace["Mixer"]()  # type: ignore[operator]

    assert anatomy(model(False)).parts["out"].unheard == ""
    assert anatomy(model(True)).parts["out"].unheard


def test_a_linear_class_that_computes_more_is_unheard_and_one_that_does_not_is_heard() -> None:
    class Router(nn.Linear):
        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
            logits = super().forward(x)
            return torch.topk(logits, 1)

    class Written(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            return x @ self.weight.T + self.bias

    parts = anatomy(nn.ModuleDict({"router": Router(4, 4), "written": Written(4, 4)})).parts
    assert "more than the linear map" in parts["router"].unheard
    assert parts["written"].unheard == ""


def test_a_block_whose_forward_is_called_around_its_hooks_is_unheard() -> None:
    blocks = [part for part in parts_of("masked-lm/squeezebert").values() if part.kind == "block"]
    assert len(blocks) == 2
    assert all("around its hooks" in part.unheard for part in blocks)


def test_of_embeddings_that_share_a_weight_those_never_called_are_unheard() -> None:
    embeddings = {name: part for name, part in parts_of("seq2seq-lm/t5").items() if part.kind == "embedding"}
    assert {name for name, part in embeddings.items() if part.unheard} == {"shared"}


KNOWN_UNHEARD = {
    "audio-classification/wavlm": {"k_proj", "out_proj", "q_proj", "v_proj"},
    "causal-lm/jamba": {"conv1d", "dt_proj"},
    "causal-lm/mamba": {"conv1d", "dt_proj"},
    "image-classification/siglip": {"out_proj"},
    "causal-lm/phimoe": {"router"},
    "causal-lm/llama4": {"router"},
    "causal-lm/llama": set(),
    "causal-lm/falcon": set(),
}


@pytest.mark.parametrize("key", list(KNOWN_UNHEARD))
def test_what_is_unheard_in_published_models(key: str) -> None:
    assert {name.rpartition(".")[2] for name in anatomy(made(key)).unheard()} == KNOWN_UNHEARD[key]


class Counting(inarch.OutputAdapter):
    def __init__(self, site: inarch.Site, ran: Counter[str]) -> None:
        super().__init__()
        self.name, self.ran = site.name, ran

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        self.ran[self.name] += 1
        return y


# What a batch of text may leave out: experts that no token was routed to, keys of global tokens, of entities.
SOMETIMES = {"key_global", "query_global", "value_global", "e2e_query", "e2w_query", "w2e_query"}

TRICKY = [
    *KNOWN_UNHEARD,
    "audio-classification/wav2vec2",
    "causal-lm/bloom",
    "causal-lm/deepseek_v4",
    "causal-lm/gemma3n_text",
    "causal-lm/mamba2",
    "causal-lm/qwen3_next",
    "causal-lm/recurrent_gemma",
    "causal-lm/rwkv",
    "causal-lm/xlstm",
    "causal-lm/zamba",
    "image-classification/levit",
    "image-classification/swiftformer",
    "masked-lm/deberta",
    "masked-lm/longformer",
    "masked-lm/luke",
    "masked-lm/mobilebert",
    "seq2seq-lm/longt5",
    "seq2seq-lm/switch_transformers",
    "sequence-classification/layoutlmv3",
]


@pytest.mark.parametrize("key", TRICKY)
def test_adapters_run_at_every_part_that_is_heard(key: str) -> None:
    model, ran = made(key), Counter[str]()

    @dataclass(frozen=True, kw_only=True)
    class Count(inarch.Method):
        """Counts."""

        name = "count"
        accepts = ("linear", "convolution")
        targets: tuple[str, ...] = ("@linear", "@convolution")

        def build(self, site: inarch.Site) -> Counting:
            return Counting(site, ran)

    adapter = inarch.attach(model, Count())
    run(key, model)
    silent = [
        site.name
        for site in adapter.sites
        if not ran[site.name] and "expert" not in site.roles and site.name.rpartition(".")[2] not in SOMETIMES
    ]
    images = [name for name in silent if key.endswith("layoutlmv3") and "patch_embed" in name]
    assert silent == images


def test_the_code_of_a_class_is_read_once() -> None:
    assert part_code(Reads) is part_code(Reads)


class WithoutGradient(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(4, 4)

    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x)  # type: ignore[no-any-return]


def test_what_is_computed_without_gradients_takes_no_adapter() -> None:
    parts = anatomy(nn.Sequential(WithoutGradient(), nn.Linear(4, 4))).parts
    assert parts["0.inner"].unheard == "WithoutGradient computes without gradients, so that nothing in it is trained."
    assert not parts["1"].unheard


class Codebook(nn.Module):
    """The numbers of the nearest rows; with ``gives_rows`` the rows themselves."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cdist(x, self.embedding.weight).argmin(-1)


class RowsOfCodebook(Codebook):
    def forward(self, x: Tensor) -> Tensor:
        return self.embedding(super().forward(x))  # type: ignore[no-any-return]


@pytest.mark.parametrize(("codebook", "reason"), [(Codebook, "numbers of codes"), (RowsOfCodebook, "")])
def test_what_only_leads_to_a_choice_takes_no_adapter(codebook: type[nn.Module], reason: str) -> None:
    class Tokeniser(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder, self.codebook = nn.Linear(4, 4), codebook()

        def forward(self, x: Tensor) -> Tensor:
            return self.codebook(self.encoder(x))  # type: ignore[no-any-return]

    unheard = anatomy(nn.Sequential(Tokeniser())).parts["0.encoder"].unheard
    assert reason in unheard
    assert bool(unheard) == bool(reason)


class Reversible(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, layers: nn.ModuleList) -> Tensor:
        for layer in layers:
            x = layer(x)
        return x

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        torch.autograd.backward([gradient], [gradient])
        return gradient, None


class Reverses(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(4, 4)])

    def forward(self, x: Tensor) -> Tensor:
        return Reversible.apply(x, self.layers)  # type: ignore[no-any-return, no-untyped-call]


def test_what_a_network_reverses_by_itself_takes_no_adapter_for_no_gradient_comes_there() -> None:
    model = nn.Sequential(nn.Embedding(3, 4).requires_grad_(False), Reverses())
    assert not model(torch.tensor([0])).requires_grad  # so with an adapter as well
    assert "Reverses computes gradients by itself" in anatomy(model).parts["1.layers.0"].unheard
    assert not parts_of("causal-lm/rwkv")["rwkv.blocks.0.attention.key"].unheard
