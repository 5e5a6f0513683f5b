"""``inarch plan``: what each method would train in a model, without its weights."""

from typing import Annotated, Any

import typer
from torch import nn

from ..adapters import Method
from ..adapters.plan import make_plan
from ..errors import InarchError, ModelError
from ..registry import registry
from ..training.quiet import quiet_transformers
from .output import Json, print_json, print_table

Model = Annotated[str, typer.Argument(help="A model's id on the hub, or a local folder.")]
Only = Annotated[list[str] | None, typer.Option("--method", help="Plan this method only; may be given again.")]


def plan(model: Model, method: Only = None, json: Json = False) -> None:
    """Show how many parameters each method would train in a model, and what share of it they reach."""
    with quiet_transformers():
        skeleton = _skeleton(model)
    names = method or list(registry().methods())
    rows = [_row(skeleton, registry().method(name)()) for name in names]
    if json:
        print_json(rows)
        return
    print_table(
        ("method", "trainable", "share", "sites", "coverage", "note"),
        ((row["method"], *_numbers(row), row.get("refused", "")) for row in rows),
    )


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


def _numbers(row: dict[str, Any]) -> tuple[str, str, str, str]:
    if "refused" in row:
        return ("-", "-", "-", "-")
    return (f"{row['trainable']:,}", f"{row['share']:.3%}", str(row["sites"]), f"{row['coverage']:.1%}")
