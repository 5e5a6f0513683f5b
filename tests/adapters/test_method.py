"""Settings survive JSON, and wrong ones are named."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import pytest
from torch import nn

import inarch
from inarch import Method
from inarch.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class Everything(Method):
    """A method with a setting of every type."""

    name = "everything"

    size: int = 3
    rate: float = 0.5
    on: bool = False
    kind: Literal["small", "large"] = "small"
    limit: int | None = None
    sizes: tuple[int, ...] = (1, 2)
    by_name: Mapping[str, float] = field(default_factory=dict)


@pytest.mark.parametrize(
    "method",
    [
        Everything(),
        Everything(size=9, rate=1.5, on=True, kind="large", limit=4, sizes=(), by_name={"a": 1.0}, targets=("@norm",)),
        *(inarch.method(name) for name in ("lora", "bitfit", "full", "head")),
        inarch.method("lora", rank_pattern={"*.q_proj": 2}, alpha_pattern={"v": 3}, dropout=0.1),
    ],
)
def test_settings_survive_json(method: Method) -> None:
    assert type(method).from_dict(json.loads(json.dumps(method.to_dict()))) == method


def test_natural_values_are_taken() -> None:
    assert Everything.from_dict({"rate": 1, "targets": "q_proj", "by_name": {"a": 2}}) == Everything(
        rate=1.0, targets=("q_proj",), by_name={"a": 2.0}
    )


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"sise": 1}, 'everything has no setting "sise": did you mean "size"'),
        ({"size": 1.5}, "everything.size is 1.5: it must be of type int"),
        ({"size": True}, "everything.size is True: it must be of type int"),
        ({"on": 1}, "everything.on is 1: it must be of type bool"),
        ({"kind": "huge"}, "everything.kind is 'huge': it must be one of 'small', 'large'"),
        ({"limit": "no"}, "everything.limit is 'no': it must be one of the types"),
        ({"sizes": [1, "two"]}, "everything.sizes is 'two': it must be of type int"),
        ({"sizes": 1}, "everything.sizes is 1: it must be a list"),
        ({"by_name": [1]}, "everything.by_name is [1]: it must be a mapping"),
    ],
)
def test_wrong_values_are_named(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Everything.from_dict(settings)
    assert str(caught.value).startswith(said)


def test_a_method_that_builds_nothing_says_so() -> None:
    with pytest.raises(NotImplementedError, match="Everything has targets but builds nothing"):
        inarch.plan(nn.Sequential(nn.Linear(2, 2)), Everything()).build()
