"""The public API is one list, and each name of it is documented."""

import inspect

import inarch
from inarch import errors

PUBLIC = """
Adapter AttentionAdapter AttentionShape CheckpointError CheckpointKeyError ConfigError DataError DetachedError
DuplicateNameError Engine ExpertsAdapter ExpertsShape Factors FormatError InarchError InarchWarning InputAdapter InvalidPluginError MergeError
MergeReport Method MethodInfo MissingPluginError ModelAdapter ModelError OutputAdapter PeftFormat Plan PlanError PluginWarning
PromptAdapter Quantization RegistryError Report RouteError Site SiteAdapter Step TargetError TrainingError UnknownNameError
WeightDelta WeightFormat WrongBaseError __version__ activate adapters attach engine from_pretrained hookimpl load load_bundle matches_name
method methods plan quantize route save_bundle weight_format
"""


def test_the_public_names() -> None:
    assert sorted(inarch.__all__) == sorted(PUBLIC.split())
    assert all(hasattr(inarch, name) for name in inarch.__all__)


def test_every_public_name_has_a_docstring() -> None:
    for name in inarch.__all__:
        thing = getattr(inarch, name)
        if inspect.isclass(thing) or inspect.isfunction(thing):
            assert inspect.getdoc(thing), name


def test_the_error_tree_is_drawn_as_it_is() -> None:
    drawn = [line for line in (errors.__doc__ or "").splitlines() if line.startswith("    ")]
    parents: dict[int, str] = {}
    for line in drawn:
        name = next(word for word in line.split() if word.endswith("Error"))
        depth = line.index(name)
        parent = next((parents[d] for d in sorted(parents, reverse=True) if d < depth), None)
        parents = {d: n for d, n in parents.items() if d < depth} | {depth: name}
        error = getattr(errors, name)
        assert parent is None or issubclass(error, getattr(errors, parent)), name
    classes = {
        name
        for name, thing in vars(errors).items()
        if inspect.isclass(thing) and issubclass(thing, Exception) and not issubclass(thing, Warning)
    }
    assert classes == {word for line in drawn for word in line.split() if word.endswith("Error")}
    assert classes <= set(inarch.__all__)
