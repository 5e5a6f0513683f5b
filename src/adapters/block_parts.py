"""Blocks: the repeated units that a backbone is a stack of, found by the lists that hold them."""

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
    lists += [name for name in _of_layers(tree, norms) if not _is_inside(name, lists) and not _holds(name, lists)]
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


def _of_layers(tree: ModuleTree, norms: Collection[str]) -> list[str]:
    """The innermost lists of which a member holds a norm and two matrices: layers of convolutions, mixers, recurrences.

    If there are none, members with one matrix will do.
    """
    matrices: dict[str, int] = {}
    for name, module in tree.modules.items():
        if name and _owns_matrix(module):
            for ancestor in ancestors(name):
                matrices[ancestor] = matrices.get(ancestor, 0) + 1
    normed = {ancestor for name in norms for ancestor in ancestors(name)}
    for least in (2, 1):
        members = [name for name, count in matrices.items() if count >= least and name in normed]
        lists = dict.fromkeys(parent for name in members if tree.is_list(parent := name.rpartition(".")[0]))
        if lists:
            return [name for name in lists if not _holds(name, lists)]
    return []


def _owns_matrix(module: nn.Module) -> bool:
    return any(parameter is not None and parameter.dim() > 1 for parameter in module._parameters.values())


def _is_inside(name: str, others: Iterable[str]) -> bool:
    return any(name == other or name.startswith(f"{other}.") for other in others)


def _holds(name: str, others: Iterable[str]) -> bool:
    return any(other.startswith(f"{name}.") for other in others)
