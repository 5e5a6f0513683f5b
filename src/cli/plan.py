"""``inarch plan``: what a model is made of, and what each method would train in it, without its weights."""

from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from torch import nn

from ..adapters import Method, anatomy
from ..adapters.plan import make_plan
from ..errors import InarchError, ModelError
from ..registry import registry
from ..training.quiet import quiet_transformers
from .model_tree import Branch, model_tree
from .output import Json, print_json, print_table

Model = Annotated[str, typer.Argument(help="A model's id on the hub, or a local folder.")]
Only = Annotated[list[str] | None, typer.Option("--method", help="Plan this method only; may be given again.")]


def plan(model: Model, method: Only = None, json: Json = False) -> None:
    """Show the parts of a model, and how many parameters each method would train and what share of it they reach."""
    with quiet_transformers():
        skeleton = _skeleton(model)
        found = anatomy(skeleton)
        names = method or list(registry().methods())
        rows = [_row(skeleton, registry().method(name)()) for name in names]
    tree = model_tree(skeleton, found)
    unheard = {name: found.parts[name].unheard for name in found.unheard()}
    if json:
        print_json({"model": model, "tree": tree.to_dict(), "unheard": unheard, "methods": rows})
    else:
        _print(tree, unheard, rows)


def _skeleton(model: str) -> nn.Module:
    """The model's structure, built from its configuration without memory for weights."""
    import torch
    import transformers

    try:
        config = transformers.AutoConfig.from_pretrained(model)
    except (OSError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise ModelError(f"{model} has no configuration that transformers can read: {reason}") from error
    declared = getattr(transformers, (config.architectures or [""])[0], None)
    with torch.device("meta"):
        return declared(config) if declared else transformers.AutoModel.from_config(config)  # type: ignore[no-any-return]


def _row(model: nn.Module, method: Method) -> dict[str, Any]:
    try:
        return make_plan(model, method).report().to_dict()
    except InarchError as error:
        return {"method": method.name, "refused": str(error)}


def _print(tree: Branch, unheard: dict[str, str], rows: list[dict[str, Any]]) -> None:
    console = Console()
    console.print(tree.to_tree())
    for reason in dict.fromkeys(unheard.values()):
        names = [name for name, given in unheard.items() if given == reason]
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        console.print(f"\n[red]unheard[/]  {escape(names[0])}{more}: {escape(reason)}")
    console.print()
    print_table(
        ("method", "trainable", "share", "sites", "coverage"),
        ((row["method"], *_numbers(row)) for row in rows if "refused" not in row),
    )
    for row in rows:
        if "refused" in row:
            reason = row["refused"].removeprefix(f"{row['method']}: ").partition(": Available: ")[0]
            console.print(f"[dim]{escape(row['method'])}: {escape(reason)}[/]")


def _numbers(row: dict[str, Any]) -> tuple[str, str, str, str]:
    return (f"{row['trainable']:,}", f"{row['share']:.3%}", f"{row['sites']:,}", f"{row['coverage']:.1%}")
