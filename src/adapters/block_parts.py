"""Blocks: the repeated units that a backbone is a stack of, found by the lists that hold them."""

from collections import Counter
from collections.abc import Collection, Iterable, Sequence

from torch import nn

from .module_tree import ModuleTree, ancestors


def block_names(tree: ModuleTree, attentions: Sequence[str], norms: Collection[str]) -> list[str]:
    """Names of the repeated blocks: the members of the lists around attention, and of lists of layers without any.

    Args:
        tree: The model.
        attentions: Names of the modules that compute attention.
        norms: Names of the norms.
    """
    lists = _around_attention(tree, attentions)
    found = tuple(f"{name}." for name in lists)
    rest = [name for name in tree.modules if not name.startswith(found)]
    lists += [name for name in _of_layers(tree, rest, norms, 2 if lists else 1) if not _holds(name, lists)]
    return [member for name in lists for member in tree.children(name)]


def _around_attention(tree: ModuleTree, attentions: Sequence[str]) -> list[str]:
    """For each attention the nearest list whose members all hold one, or else the outermost list around it.

    A list with members of other kinds is either a stack of unlike blocks or what a block itself is made of: the
    sublayers of T5. It is the former if no list stands around it.
    """
    chosen: dict[str, None] = {}
    holding = {ancestor for name in attentions for ancestor in ancestors(name)}
    for name in attentions:
        lists = [parent for parent in ancestors(name)[1:] if tree.is_list(parent)]
        for parent in lists:
            if parent is lists[-1] or holding.issuperset(tree.children(parent)):
                chosen[parent] = None
                break
    return list(chosen)


def _of_layers(tree: ModuleTree, names: Iterable[str], norms: Collection[str], least: int) -> list[str]:
    """The innermost lists of which a member holds a norm and two matrices: layers of convolutions, mixers, recurrences.

    If there are none, members with no more than the ``least`` number of matrices will do.
    """
    matrices = Counter(
        around for name in names if name and _owns_matrix(tree.modules[name]) for around in ancestors(name)
    )
    matrices = Counter({name: count for name, count in matrices.items() if tree.is_list(name.rpartition(".")[0])})
    if not matrices:
        return []
    normed = {around for name in norms for around in ancestors(name)}
    for enough in range(2, least - 1, -1):
        members = [name for name, count in matrices.items() if count >= enough and name in normed]
        lists = dict.fromkeys(name.rpartition(".")[0] for name in members)
        if lists:
            return [name for name in lists if not _holds(name, lists)]
    return []


def _owns_matrix(module: nn.Module) -> bool:
    return any(parameter is not None and parameter.dim() > 1 for parameter in module._parameters.values())


def _holds(name: str, others: Iterable[str]) -> bool:
    return any(other.startswith(f"{name}.") for other in others)
