"""The quantiser: how transformers loads a model in four or eight bits, tensor by tensor, and saves it again."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from transformers.core_model_loading import WeightRenaming, rename_source_key
from transformers.quantizers.auto import register_quantization_config, register_quantizer
from transformers.quantizers.base import HfQuantizer

from ..errors import FormatError, ModelError, shortened
from ..kernels import FourBit
from ..quant import FourBitLinear, Int8Linear, QuantisedLinear, has_weight_format, weight_format
from ..quant.quantised_experts import QuantisedExperts, hold_experts
from .quantisation import exchange, place, quantisable, quantisable_experts
from .quantisation_config import METHOD, Quantization
from .quantised_conversion import Assemble, Quantise, StoredEntries
from .quantised_file import FileWeight, quantised_weights, stored
from .quantised_model import mark, quantised_entries, with_own_memory


@register_quantizer(METHOD)
class Quantiser(HfQuantizer):
    """Loads a model of floats quantised, or a quantised one as it is.

    The modules are exchanged as their weights arrive: until then they are those of the architecture, so that a weight
    which a checkpoint lacks is drawn by the architecture's own code, and stays in floating point to be trained.
    """

    def __init__(self, quantization_config: Quantization, **settings: Any) -> None:
        super().__init__(quantization_config, **settings)
        self.names: set[str] = set()  # of the parameters that become quantised
        self.experts: set[str] = set()  # those of fused experts among them
        self.waiting: list[str] = []
        self.together: set[str] = set()
        self.sizes: dict[str, torch.Size] = {}
        self.files: dict[str, FileWeight] = {}
        self.model: nn.Module | None = None

    @property
    def is_trainable(self) -> bool:
        """Adapters can be trained on it."""
        return True

    def is_serializable(self, *args: Any, **kwargs: Any) -> bool:
        """``save_pretrained`` writes it."""
        return True

    @property
    def is_compileable(self) -> bool:
        """Its layers are plain torch."""
        return True

    def validate_environment(self, *args: Any, device_map: Any = None, **kwargs: Any) -> None:
        """Refuse to leave a part of the model on another kind of memory than the rest.

        Raises:
            ModelError: A device map with the disk in it, or with the processor's memory beside another device.
        """
        devices = {str(device) for device in device_map.values()} if isinstance(device_map, dict) else {device_map}
        if "disk" in devices or ("cpu" in devices and len(devices) > 1):
            raise ModelError(
                f"The device map puts parts of the model on {', '.join(sorted(map(str, devices)))}: quantised weights "
                "cannot be offloaded. Give devices that hold all of it."
            )

    def param_needs_quantization(self, model: nn.Module, param_name: str, **kwargs: Any) -> bool:
        """Whether it is a parameter that becomes quantised."""
        return param_name in self.names

    def param_element_size(self, model: nn.Module, param_name: str, param: Tensor) -> float:
        """Bytes a value, for device maps."""
        if param_name not in self.names:
            return param.element_size()
        return 1.0 if self.quantization_config.kind == "int8" else 0.5

    def _process_model_before_weight_loading(
        self, model: nn.Module, checkpoint_files: Sequence[str] | None = None, **others: Any
    ) -> None:
        self.model = model
        self.sizes = {name: parameter.shape for name, parameter in model.named_parameters()}
        if not self.pre_quantized:
            self.experts = set(quantisable_experts(model))
            self.names = {f"{name}.weight" for name in quantisable(model)} | self.experts
        elif checkpoint_files is None:
            raise ModelError("A quantised model is loaded from its files: a state_dict of one cannot be given.")
        else:
            self.files = quantised_weights(checkpoint_files)

    def get_quantize_ops(self) -> Quantise:
        """What transformers does with each parameter that becomes quantised."""
        return Quantise(self._quantised, self.together)

    def update_weight_conversions(self, weight_conversions: list[Any], *others: Any) -> list[Any]:
        """The conversions of the architecture, with the gathering of quantised weights before them.

        Raises:
            FormatError: A weight of the files is of another size than the model's, or belongs to no linear map there.
        """
        if not self.pre_quantized:
            return weight_conversions
        renamings = [entry for entry in weight_conversions if isinstance(entry, WeightRenaming)]
        model: Any = self.model
        places: dict[str, tuple[str, str]] = {}
        for name, weight in self.files.items():
            own, _ = rename_source_key(name, renamings, [], model.base_model_prefix, self.sizes)
            if own in self.sizes:
                _require_size(model, own, weight)
                self.names.add(own)
            renamed, _ = rename_source_key(name, renamings, [])
            places |= {rename_source_key(key, renamings, [])[0]: (renamed, entry) for entry, key in weight.keys.items()}
        self.experts = {name for name in self.names if len(self.sizes[name]) > 2}
        return [StoredEntries(places, Assemble(self._assembled)), *weight_conversions]

    def _quantised(self, name: str, value: Tensor) -> Tensor:
        """What becomes of a tensor that was read."""
        model: Any = self.model
        kind = self.quantization_config.kind
        if name not in self.names or value.shape != self.sizes[name]:
            self.names.discard(name)  # transformers then treats it as any other of a wrong size
            return value
        if name in self.experts:
            return QuantisedExperts.of(value, kind)
        owner = name.rpartition(".")[0]
        module = model.get_submodule(owner)
        if module.bias is not None and module.bias.is_meta:
            self.waiting.append(owner)  # the bias is drawn or read later
            return value
        module.weight = nn.Parameter(value, requires_grad=False)
        return _arrived(exchange(model, owner, kind))

    def _assembled(self, name: str, entries: dict[str, Tensor]) -> Tensor:
        """The parameter of entries that were read."""
        model: Any = self.model
        dtype = model.get_parameter(name).dtype
        if name in self.experts:
            return QuantisedExperts.read(entries, dtype, name)
        owner = name.rpartition(".")[0]
        weight = stored(entries, name, dtype)
        bias = model.get_submodule(owner).bias
        layer = FourBitLinear(weight, bias) if isinstance(weight, FourBit) else Int8Linear(weight, bias)
        return _arrived(place(model, owner, layer))

    def _process_model_after_weight_loading(self, model: nn.Module, **kwargs: Any) -> nn.Module:
        for name in self.waiting:
            exchange(model, name, self.quantization_config.kind)
        for name in self.experts:
            owner, _, key = name.rpartition(".")
            module = model.get_submodule(owner)
            weight = module._parameters[key]
            if isinstance(weight, QuantisedExperts):
                hold_experts(module, key, weight)
        self._require_sizes(model)
        self.model, self.files = None, {}
        mark(model, self.quantization_config, self, kept=self.together)
        return model

    def _require_sizes(self, model: nn.Module) -> None:
        """Releases of transformers differ in whether they look at the sizes of what is not quantised."""
        quantised = set(quantised_entries(model))
        wrong = [
            name
            for name, parameter in model.named_parameters()
            if name not in quantised and parameter.shape != self.sizes.get(name, parameter.shape)
        ]
        if wrong:
            raise ModelError(
                f"The checkpoint holds {shortened(wrong)} of other sizes than those of this {type(model).__name__}. "
                "Load a checkpoint of this model, or quantise it after loading with inarch.quantize."
            )

    def get_state_dict_and_metadata(self, model: nn.Module) -> tuple[dict[str, Tensor], dict[str, str]]:
        """What is saved."""
        return with_own_memory(model.state_dict()), {}


register_quantization_config(METHOD)(Quantization)


def _require_size(model: nn.Module, name: str, weight: FileWeight) -> None:
    owner = model.get_submodule(name.rpartition(".")[0])
    shape = tuple(model.get_parameter(name).shape)
    if len(shape) == 2:
        if not has_weight_format(owner):
            raise FormatError(f"{name} is quantised in the file, and belongs to a {type(owner).__name__} in the model.")
        shape = weight_format(owner).features(owner)[::-1]
    if tuple(weight.shape) != shape:
        raise FormatError(
            f"{name} is of shape {tuple(weight.shape)} in the file and {shape} in the model: it is another model's."
        )


def _arrived(module: QuantisedLinear) -> Tensor:
    """The weight of a module that is loaded: transformers is not to draw it anew."""
    for parameter in module.parameters():
        parameter._is_hf_initialized = not parameter.is_meta  # type: ignore[attr-defined]
    return module.weight
