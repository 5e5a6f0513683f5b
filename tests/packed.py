"""Linear layers of other libraries, packed from the definitions of their formats, in bases of every format.

A library that is not installed is stood in for by a class of the same module path and the same attributes.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

GROUP = 32


def grid(weight: Tensor, bits: int, group: int = GROUP) -> tuple[Tensor, Tensor, Tensor]:
    """Codes (out, in), scales (out, groups) and zeros (out, groups) of the nearest codes, with the extremes of a group
    at the ends."""
    out_features, in_features = weight.shape
    groups = weight.detach().float().view(out_features, in_features // group, group)
    low, high = groups.amin(-1), groups.amax(-1)
    scales = ((high - low) / (2**bits - 1)).half().float()
    zeros = torch.round(-low / scales).clamp(0, 2**bits - 1)
    codes = torch.round(groups / scales[..., None] + zeros[..., None]).clamp(0, 2**bits - 1)
    return codes.view(out_features, in_features).int(), scales, zeros.int()


def value(codes: Tensor, scales: Tensor, zeros: Tensor, group: Tensor) -> Tensor:
    """``s * (q - z)``, one column after the other."""
    columns = [scales[:, g] * (codes[:, i] - zeros[:, g]) for i, g in enumerate(group.tolist())]
    return torch.stack(columns, dim=1)


def words(codes: list[int], bits: int) -> list[int]:
    """Codes one after the other from the lowest bit on, in signed words of 32 bits."""
    stream = sum(code << (bits * place) for place, code in enumerate(codes))
    found = [(stream >> (32 * place)) & 0xFFFFFFFF for place in range(-(-len(codes) * bits // 32))]
    return [word - 2**32 if word >= 2**31 else word for word in found]


def packed_rows(codes: Tensor, bits: int) -> Tensor:
    """Each row of codes in words."""
    return torch.tensor([words(row, bits) for row in codes.tolist()], dtype=torch.int32)


class _Buffered(nn.Module):
    """What the layers of gptqmodel have in common: everything is a buffer, and the weight of half precision."""

    def __init__(self, in_features: int, out_features: int, bits: int, buffers: dict[str, Tensor], bias: Any) -> None:
        super().__init__()
        self.in_features, self.out_features, self.bits = in_features, out_features, bits
        self.decoded: Any = None  # once, since it takes long
        for name, tensor in buffers.items():
            self.register_buffer(name, tensor)
        if bias is None:
            self.bias = None
        else:
            self.register_buffer("bias", bias.detach().half())

    def forward(self, x: Tensor) -> Tensor:
        if self.decoded is None:
            self.decoded = self._weight().half()
        weight, bias = self.decoded.to(x.dtype), None if self.bias is None else self.bias.to(x.dtype)
        return functional.linear(x, weight, bias)


class TorchLinear(_Buffered):
    """GPTQ, as ``gptqmodel.nn_modules.qlinear.torch`` holds it; it computes with a weight unpacked one by one."""

    SUPPORTS_TRAINING = True

    def _weight(self) -> Tensor:
        mask = 2**self.bits - 1
        rows = [sum((w & 0xFFFFFFFF) << (32 * i) for i, w in enumerate(column)) for column in self.qweight.T.tolist()]
        codes = [[(row >> (self.bits * i)) & mask for i in range(self.in_features)] for row in rows]
        rows = [sum((w & 0xFFFFFFFF) << (32 * i) for i, w in enumerate(line)) for line in self.qzeros.tolist()]
        zeros = [[(row >> (self.bits * i)) & mask for i in range(self.out_features)] for row in rows]
        return value(torch.tensor(codes), self.scales.T.float(), torch.tensor(zeros).T, self.g_idx)


class AwqTorchLinear(_Buffered):
    """AWQ, as ``gptqmodel.nn_modules.qlinear.torch_awq`` holds it."""

    SUPPORTS_TRAINING = True
    ORDER = (0, 2, 4, 6, 1, 3, 5, 7)

    def _weight(self) -> Tensor:
        def unpack(packed: Tensor) -> Tensor:
            found = torch.empty(packed.shape[0], 8 * packed.shape[1], dtype=torch.int32)
            for nibble, output in enumerate(self.ORDER):
                found[:, output::8] = (packed >> (4 * nibble)) & 15
            return found

        group = torch.arange(self.in_features) // (self.in_features // self.scales.shape[0])
        return value(unpack(self.qweight).T, self.scales.T.float(), unpack(self.qzeros).T, group)


class HQQLinear(nn.Module):
    """HQQ, as ``hqq.core.quantize`` holds it: codes in a parameter, and a dictionary beside it."""

    def __init__(
        self, linear: nn.Module, quant_config: dict[str, Any], compute_dtype: torch.dtype, device: str = "cpu"
    ) -> None:
        super().__init__()
        self.ready, self.compute_dtype, self.device = True, compute_dtype, device
        self.quant_config = dict(quant_config)
        self.offload_meta = self.quant_config.pop("offload_meta")
        settings = self.quant_config["weight_quant_params"]
        weight: Any = linear.weight
        codes, scales, zeros = grid(weight.data, settings["nbits"], settings["group_size"])
        self.in_features, self.out_features = weight.shape[1], weight.shape[0]
        self.W_q = nn.Parameter(codes.to(torch.uint8), requires_grad=False)
        self.meta = {"scale": scales, "zero": zeros, "shape": weight.shape, "group_size": settings["group_size"]}
        self.bias = None if linear.bias is None else linear.bias.data.clone()

    @classmethod
    def from_weights(cls, weight: Tensor, bias: Any, quant_config: Any, compute_dtype: Any, device: Any) -> "HQQLinear":
        linear = nn.Linear(1, 1)
        linear.weight.data, linear.bias = weight, bias
        return cls(linear, quant_config, compute_dtype, device)

    def dequantize(self) -> Tensor:
        group = torch.arange(self.in_features) // self.meta["group_size"]
        return value(self.W_q.int(), self.meta["scale"], self.meta["zero"], group).to(self.compute_dtype)

    def forward(self, x: Tensor) -> Tensor:
        return functional.linear(x, self.dequantize(), self.bias)


def gptq(linear: nn.Linear, bits: int = 4, order: Tensor | None = None) -> nn.Module:
    """A layer of GPTQ; ``order`` says which group each input belongs to."""
    out_features, in_features = linear.weight.shape
    group = torch.arange(in_features) // GROUP if order is None else order
    places = group.argsort(stable=True)
    codes, scales, zeros = grid(linear.weight[:, places], bits)
    codes = codes[:, places.argsort()]
    buffers = {
        "qweight": packed_rows(codes, bits).T.contiguous(),
        "qzeros": packed_rows(zeros.T, bits),
        "scales": scales.T.half().contiguous(),
        "g_idx": group.int(),
    }
    return TorchLinear(in_features, out_features, bits, buffers, linear.bias)


def awq(linear: nn.Linear) -> nn.Module:
    """A layer of AWQ."""
    out_features, in_features = linear.weight.shape
    codes, scales, zeros = grid(linear.weight, 4)

    def pack(rows: Tensor) -> Tensor:
        eights = rows.view(rows.shape[0], -1, 8)[..., list(AwqTorchLinear.ORDER)]
        return packed_rows(eights.reshape(rows.shape), 4)

    buffers = {"qweight": pack(codes.T), "qzeros": pack(zeros.T), "scales": scales.T.half().contiguous()}
    return AwqTorchLinear(in_features, out_features, 4, buffers, linear.bias)


def hqq(linear: nn.Linear, bits: int = 4) -> nn.Module:
    """A layer of HQQ."""
    settings = {"weight_quant_params": {"nbits": bits, "group_size": GROUP}, "offload_meta": False}
    return HQQLinear(linear, settings, torch.float32)


def exchanged(model: Any, make: Callable[[nn.Linear], nn.Module]) -> Any:
    """``model`` with each linear map of its blocks exchanged for what ``make`` makes of it."""
    for name, module in list(model.named_modules()):
        if type(module) is nn.Linear and ".layers." in f".{name}":
            parent, _, key = name.rpartition(".")
            made = make(module)
            made.training = module.training
            model.get_submodule(parent)._modules[key] = made
    return model


class Int8Tensor(Tensor):
    """Eight bits with a scale a row, as ``torchao.quantization`` has it: a tensor that passes for one of float32."""

    qdata: Tensor
    scale: Tensor
    zero_point: Any = None
    act_quant_kwargs: Any = None
    act_quant_scale: Any = None
    act_quant_zero_point: Any = None
    act_pre_scale: Any = None
    reduce_range: bool = False

    @staticmethod
    def __new__(cls: Any, qdata: Tensor, scale: Tensor) -> Any:
        made = Tensor._make_wrapper_subclass(cls, qdata.shape, dtype=torch.float32)
        made.qdata, made.scale, made.block_size = qdata, scale, [1, qdata.shape[1]]
        return made

    @classmethod
    def from_hp(cls, value: Tensor, *settings: Any, **options: Any) -> Any:
        scale = value.abs().amax(dim=1, keepdim=True) / 127.5
        return cls((value / scale).round().clamp(-128, 127).to(torch.int8), scale)

    def dequantize(self) -> Tensor:
        return self.qdata.float() * self.scale

    @classmethod
    def __torch_function__(cls, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if function is functional.linear:
            x, weight, *bias = args
            return functional.linear(x, weight.dequantize(), *bias)
        return super().__torch_function__(function, types, args, kwargs)

    @classmethod
    def __torch_dispatch__(cls, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if function in (torch.ops.aten.detach.default, torch.ops.aten.alias.default):
            return cls(args[0].qdata, args[0].scale)
        raise NotImplementedError(function)


def torchao(linear: nn.Linear) -> nn.Module:
    """A plain layer with a weight of torchao's."""
    layer = nn.Linear(linear.in_features, linear.out_features, bias=linear.bias is not None)
    layer.load_state_dict(linear.state_dict())
    layer.weight = nn.Parameter(Int8Tensor.from_hp(linear.weight.detach()), requires_grad=False)
    return layer


class _Settings:
    """What torchao's settings are called."""

    SYMMETRIC, ASYMMETRIC = "symmetric", "asymmetric"


_PLACES: dict[str, dict[str, Any]] = {
    "gptqmodel.nn_modules.qlinear.torch": {"TorchLinear": TorchLinear},
    "gptqmodel.nn_modules.qlinear.torch_awq": {"AwqTorchLinear": AwqTorchLinear},
    "hqq.core.quantize": {"HQQLinear": HQQLinear},
    "torchao.quantization": {
        "Int8Tensor": Int8Tensor,
        "MappingType": _Settings,
        "PerRow": object,
        "PerTensor": object,
        "PerGroup": lambda size: size,
    },
}
for _name, _content in _PLACES.items():
    next(iter(_content.values())).__module__ = _name


@contextmanager
def installed() -> Iterator[None]:
    """The stand-ins as modules of their libraries."""
    made = {}
    for name, content in _PLACES.items():
        words = name.split(".")
        for length in range(1, len(words) + 1):
            made[".".join(words[:length])] = ModuleType(".".join(words[:length]))
        vars(made[name]).update(content)
    for name, module in made.items():
        module.__spec__ = ModuleSpec(name, None)
    before = {name: sys.modules[name] for name in made if name in sys.modules}
    sys.modules.update(made)
    try:
        yield
    finally:
        for name in made:
            del sys.modules[name]
        sys.modules.update(before)
