from dataclasses import replace
from pathlib import Path

import pytest
import torch

from inarch_benchmarks.embedded.base import WEIGHTS, Base, Pretraining, fingerprint, pretrained_base
from inarch_benchmarks.embedded.experiment import quick_experiment
from inarch_benchmarks.embedded.glyphs import draw

PRETRAINING: Pretraining = quick_experiment(1).pretraining


@pytest.fixture
def base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Base:
    monkeypatch.setenv("INARCH_CACHE", str(tmp_path))
    return pretrained_base(PRETRAINING)


def same(one: Base, other: Base) -> bool:
    weights = other.weights()
    return all(torch.equal(tensor, weights[name]) for name, tensor in one.weights().items())


def test_is_pretrained_once(base: Base) -> None:
    steps: list[None] = []
    again = pretrained_base(PRETRAINING, lambda: steps.append(None))
    assert (base.origin, again.origin) == ("pretrained", "cached")
    assert not steps
    assert again.record == base.record
    assert base.record["fingerprint"] == base.fingerprint
    assert same(base, again)


def test_is_the_same_when_made_again(base: Base, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[None] = []
    monkeypatch.setenv("INARCH_CACHE", str(tmp_path / "other"))
    again = pretrained_base(PRETRAINING, lambda: steps.append(None))
    assert len(steps) == PRETRAINING.optimisation.steps
    assert again.folder != base.folder
    assert same(base, again)


@pytest.mark.parametrize("how", ["changed", "cut", "gone"])
def test_a_damaged_base_is_made_anew(base: Base, how: str) -> None:
    file = base.folder / WEIGHTS
    content = file.read_bytes()
    file.unlink()
    if how != "gone":
        file.write_bytes(content[:-1] + b"!" if how == "changed" else content[:100])
    again = pretrained_base(PRETRAINING)
    assert again.origin == "rebuilt"
    assert file.read_bytes() == content
    assert pretrained_base(PRETRAINING).origin == "cached"


def test_the_fingerprint_knows_what_decides_the_weights() -> None:
    glyphs = draw(PRETRAINING.alphabet)
    inked = replace(glyphs, images=glyphs.images ^ 1)
    faster = replace(PRETRAINING.optimisation, learning_rate=1e-3)
    variants = [
        fingerprint(PRETRAINING, glyphs),
        fingerprint(PRETRAINING, inked),
        fingerprint(replace(PRETRAINING, seed=1), glyphs),
        fingerprint(replace(PRETRAINING, optimisation=faster), glyphs),
    ]
    assert len(set(variants)) == len(variants)
    assert fingerprint(PRETRAINING, glyphs) == variants[0]
