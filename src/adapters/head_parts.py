"""The new task head: what stands outside the backbone and starts untrained."""

from collections.abc import Iterable, Mapping

from torch import nn

from .module_tree import ModuleTree
from .part import Part


def transformers_view(model: nn.Module) -> tuple[str, nn.Module | None]:
    """How the names inside the backbone begin, and the output embedding of a language model.

    Some models (T5 among them) declare a ``base_model_prefix`` that they have no child for: the backbone is then the
    whole model, less its output embedding.
    """
    from transformers import PreTrainedModel  # here, since it takes seconds to import and plain modules do not need it

    if not isinstance(model, PreTrainedModel):
        return "", None
    backbone = "" if model.base_model is model else f"{model.base_model_prefix}."
    return backbone, model.get_output_embeddings()


def new_head_within(tree: ModuleTree, parts: Mapping[str, Part], blocks: Iterable[str]) -> tuple[str, ...]:
    """Names of the modules of a new head in a model that has nothing outside its backbone.

    They are the linear children of the model that come after the last one with blocks, or else the last linear map, if
    one of their outputs has the size of the labels.
    """
    labels = getattr(getattr(tree.modules[""], "config", None), "num_labels", None)
    linears = [part for part in parts.values() if part.kind == "linear"]
    if not linears or not isinstance(labels, int):
        return ()
    with_blocks = {name.partition(".")[0] for name in blocks}
    children = tree.children("")
    last = max((place for place, child in enumerate(children) if child in with_blocks), default=len(children))
    after = tuple(child for child in children[last + 1 :] if any(_is_within(part.name, child) for part in linears)) or (
        linears[-1].name,
    )
    sizes = [part.features[1] for part in linears if any(_is_within(part.name, child) for child in after)]
    return after if labels in sizes else ()


def _is_within(name: str, module: str) -> bool:
    return name == module or name.startswith(f"{module}.")
