"""Law 8: holds in whatever training puts a model through."""

import copy
from collections.abc import Callable, Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn

from ...adapters import Adapter
from ...adapters.attach import adapters
from ...engine.feature import Declined
from ...engine.fused_products import FusedProducts
from ..case import Case, difference, gradients, logits, perturb
from ..verdict import Broken, Verdict, require

ROUNDING = 1e-9
"""What two computations of one result in float64 may differ by."""
HALF = 0.05
"""What an answer computed in bfloat16 may differ by from the exact one, as a share of its norm."""


def holds_in_training(case: Case) -> None:
    """It holds in half precision, and under checkpointing, accumulation, deepcopy, the engine and torch.compile.

    Half precision is autocast, and a bfloat16 base. Gradients under checkpointing and accumulation are those of one
    plain batch; so are those of the products that the engine fuses. A copy of the model has an adapter of
    its own. Compiled, the adapted model is one graph, wherever the bare model is.
    """
    case.attach(case.base())  # what is wrong with the plain base is not laid to the first situation
    for situation, hold in SITUATIONS.items():
        try:
            hold(case)
        except Broken as error:
            raise Broken(f"{situation}: {error}") from error
        except Verdict:
            raise
        except Exception as error:
            raise Broken(f"{situation}: {case.described(error)}") from error


def _autocast(case: Case) -> None:
    model, adapter = case.adapted()
    exact = logits(model, case.batch())
    with torch.autocast("cpu", torch.bfloat16):
        rough = logits(model, case.batch())
        found = gradients(model.train(), adapter, case.batch())
    _require_close(rough, exact)
    _require_finite(found)


def _bfloat16_base(case: Case) -> None:
    exact_model, exact_adapter = case.adapted()
    exact = logits(exact_model, case.batch())
    case = replace(case, dtype=torch.bfloat16)
    model, adapter = case.adapted()
    adapter.restore(exact_adapter.tensors())  # what is made of the base's weight begins elsewhere on a rounded one
    rough = logits(model, case.batch())
    require(rough.dtype == torch.bfloat16, f"The answers of a bfloat16 model come out in {rough.dtype}.")
    _require_close(rough, exact)
    _require_finite(gradients(model.train(), adapter, case.batch()))


def _gradient_checkpointing(case: Case) -> None:
    case = case.precise()
    model, adapter = case.adapted()
    if not getattr(model, "supports_gradient_checkpointing", False):  # a word of transformers' models
        return
    model.train()
    torch.manual_seed(0)
    plain = gradients(model, adapter, case.batch())
    model.gradient_checkpointing_enable({"use_reentrant": False})  # type: ignore[operator]
    torch.manual_seed(0)
    _require_same_gradients(gradients(model, adapter, case.batch()), plain)


def _gradient_accumulation(case: Case) -> None:
    case = case.precise()
    model, adapter = case.adapted()
    batch = case.batch(rows=4)
    # Where something is drawn for each row, as in dropout, two halves are not the whole: it is then held without.
    model.train(not _draws(model.train(), batch))
    whole = gradients(model, adapter, batch)
    halves = [{name: value[rows] for name, value in batch.items()} for rows in (slice(0, 2), slice(2, 4))]
    _require_same_gradients(gradients(model, adapter, *halves), whole)


def _deepcopy(case: Case) -> None:
    model, adapter = case.adapted()
    answer = logits(model, case.batch())
    twin = copy.deepcopy(model)
    handle = adapters(twin)[adapter.name]
    require(torch.equal(logits(twin, case.batch()), answer), "A copy answers otherwise.")
    perturb(handle, seed=1)
    trained = logits(twin, case.batch())
    require(torch.equal(logits(model, case.batch()), answer), "Training a copy changes the original.")
    perturb(adapter, seed=1)
    require(torch.equal(logits(model, case.batch()), trained), "A copy, trained alike, answers otherwise.")
    handle.detach()
    require(torch.equal(logits(model, case.batch()), trained), "Detaching from a copy changes the original.")


def _fused_products(case: Case) -> None:
    case = case.precise()
    model, adapter = case.adapted()
    # Dropout on the way is drawn in another order, so that only what is computed without it can be compared.
    model.train(not _draws(model.train(), case.batch()))
    plain = gradients(model, adapter, case.batch())
    products = FusedProducts()
    try:
        products.start(model, case.batch())
    except Declined:
        return
    _require_same_gradients(gradients(model, adapter, case.batch()), plain)


def _compile(case: Case) -> None:
    case = case.precise()
    model = case.base(layers=1)  # tracing takes a second for each layer
    adapter = case.attach(model)
    perturb(adapter)
    model.train()
    try:
        compiled = _answers_and_gradients(_compiled(model), adapter, case)
    except Exception:
        if _compiles(case):
            raise
        return
    answer, plain = _answers_and_gradients(model, adapter, case)
    changed = difference(compiled[0], answer)
    require(changed <= ROUNDING, f"Compiled, its answers differ by {changed:.1e} of the largest.")
    _require_same_gradients(compiled[1], plain)


SITUATIONS: Mapping[str, Callable[[Case], None]] = {
    "autocast": _autocast,
    "bfloat16 base": _bfloat16_base,
    "gradient checkpointing": _gradient_checkpointing,
    "gradient accumulation": _gradient_accumulation,
    "deepcopy": _deepcopy,
    "products fused by the engine": _fused_products,
    "torch.compile": _compile,
}
"""What training puts a model through, by a name for messages."""


def _compiled(model: nn.Module) -> Callable[..., object]:
    torch.compiler.reset()
    return torch.compile(model, backend="eager", fullgraph=True)


def _compiles(case: Case) -> bool:
    """Whether the bare model is one graph."""
    try:
        _compiled(case.base(layers=1).train())(**case.inputs())
    except Exception:  # whatever the compiler raises
        return False
    return True


def _answers_and_gradients(
    model: Callable[..., object], adapter: Adapter, case: Case
) -> tuple[Tensor, dict[str, Tensor]]:
    torch.manual_seed(0)
    answer: Tensor = model(**case.inputs()).logits  # type: ignore[attr-defined]
    answer.square().mean().backward()
    found = {name: parameter.grad for name, parameter in adapter.named_parameters() if parameter.grad is not None}
    for parameter in adapter.parameters():
        parameter.grad = None
    return answer.detach(), found


def _draws(model: nn.Module, batch: Mapping[str, Tensor]) -> bool:
    """Whether the forward pass draws random numbers."""
    before = torch.get_rng_state()
    logits(model, batch)
    return not torch.equal(torch.get_rng_state(), before)


def _require_close(rough: Tensor, exact: Tensor) -> None:
    error = ((rough.float() - exact.float()).norm() / exact.float().norm()).item()
    require(error <= HALF, f"Its answers differ by {error:.1%} of their norm from those in float32.")


def _require_finite(found: Mapping[str, Tensor]) -> None:
    wrong = [name for name, gradient in found.items() if not torch.isfinite(gradient).all()]
    require(bool(found) and not wrong, f"Gradients are not finite: {', '.join(wrong[:3]) or 'there are none'}.")


def _require_same_gradients(found: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    require(found.keys() == expected.keys(), f"Others get a gradient: {sorted(found.keys() ^ expected.keys())[:3]}.")
    largest = max(gradient.abs().max().item() for gradient in expected.values())
    for name, gradient in expected.items():
        changed = (found[name] - gradient).abs().max().item() / largest
        require(changed <= ROUNDING, f"The gradient of {name} differs by {changed:.1e} of the largest gradient.")
