"""What is done with the tensors of a checkpoint on their way into and out of a quantised model.

These are operations of transformers' own loading: it reads one tensor after the other, renames, splits and merges as
the architecture asks for, and hands what comes out to these.
"""

from collections.abc import Callable, Collection, Mapping
from typing import Any, Self

import torch
from torch import Tensor, nn
from transformers.core_model_loading import ConversionOps, WeightConverter

from .quantised_file import ENTRIES


class Quantise(ConversionOps):
    """Quantises what has been read, where it is; it is the last thing done with a tensor.

    Args:
        quantised: Makes the parameter of a name of its tensor, or gives the tensor back to be kept as it is.
        together: Takes down the names of tensors that were one in the checkpoint.
    """

    def __init__(self, quantised: Callable[[str, Tensor], Tensor], together: set[str]) -> None:
        self.quantised = quantised
        self.together = together

    @torch.no_grad()
    def convert(self, input_dict: dict[str, Any], *others: Any, **kwargs: Any) -> dict[str, Tensor]:
        """The parameters by name; each tensor is let go of before the next one is quantised."""
        if len(input_dict) > 1:
            self.together.update(input_dict)
        made = {}
        for name in list(input_dict):
            value = input_dict.pop(name)
            tensor = value.pop() if isinstance(value, list) else value
            del value
            made[name] = self.quantised(name, tensor)
            del tensor
        return made


class Assemble(ConversionOps):
    """Makes a parameter of the entries that a checkpoint holds of a quantised weight.

    Args:
        assembled: Makes the parameter of a name of its entries.
    """

    # By this name transformers knows an operation whose inputs are to keep the dtype they have in the file.
    hf_quantizer = True

    def __init__(self, assembled: Callable[[str, dict[str, Tensor]], Tensor]) -> None:
        self.assembled = assembled

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self  # transformers copies a converter for each weight

    def convert(
        self, input_dict: dict[str, Any], *others: Any, full_layer_name: str, **kwargs: Any
    ) -> dict[str, Tensor]:
        """The parameter by its name."""
        found = {entry: value[0] if isinstance(value, list) else value for entry, value in input_dict.items()}
        entries = {entry.removeprefix(_PATTERN): value for entry, value in found.items()}
        return {full_layer_name: self.assembled(full_layer_name, entries)}


class StoredEntries(WeightConverter):
    """Gathers the entries of each quantised weight of a checkpoint; every other tensor passes by.

    Args:
        places: The weight and the entry of each tensor of a quantised one, as they are called after renaming.
        operation: What makes the weight.
    """

    def __init__(self, places: Mapping[str, tuple[str, str]], operation: Assemble) -> None:
        super().__init__([_PATTERN + entry for entry in ENTRIES], "quantised", [operation])
        self.places = places

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return type(self)(self.places, self.operations[0])

    def rename_source_key(self, source_key: str) -> tuple[str, str | None]:
        """The weight that a tensor belongs to, and what it is to it."""
        if source_key not in self.places:
            return source_key, None
        self._was_used = True
        name, entry = self.places[source_key]
        return name, _PATTERN + entry


class KeptEntries(WeightConverter):
    """Keeps the entries of quantised weights, when a model is saved, from being split and merged as floats would be.

    Args:
        names: Of the tensors.
    """

    def __init__(self, names: Collection[str]) -> None:
        super().__init__([_PATTERN], [_PATTERN], [_Nothing()])
        self.names = names

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return type(self)(self.names)

    def reverse_transform(self) -> Self:
        """The way back is the way."""
        return type(self)(self.names)

    def rename_source_key(self, source_key: str) -> tuple[str, str | None]:
        """The tensor's own name, claimed where it is one of them."""
        return source_key, self.source_patterns[0] if source_key in self.names else None

    def convert(self, layer_name: str, *others: Any, **kwargs: Any) -> dict[str, Any]:
        """The tensor, as it is."""
        (tensor,) = self.materialize_tensors().values()
        return {layer_name: tensor}


class _Nothing(ConversionOps):
    def convert(self, input_dict: dict[str, Any], *others: Any, **kwargs: Any) -> dict[str, Any]:
        return input_dict


_PATTERN = "quantised:"
"""What the patterns of these begin with, which transformers wants to be unlike those of an architecture."""


def keep_entries(model: nn.Module, names: Collection[str]) -> None:
    """See to it that ``save_pretrained`` writes these tensors under the names they have in the model."""
    from transformers.conversion_mapping import get_model_conversion_mapping
    from transformers.core_model_loading import PrefixChange

    used: list[Any] | None = getattr(model, "_weight_conversions", None)
    if used is None:  # as transformers does for a model that was not loaded
        used = [c for c in get_model_conversion_mapping(model, add_legacy=False) if not isinstance(c, PrefixChange)]
    rest = [c for c in used if not isinstance(c, StoredEntries | KeptEntries)]
    model._weight_conversions = [*rest, KeptEntries(names)]  # type: ignore[assignment]
