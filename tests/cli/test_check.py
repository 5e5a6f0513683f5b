"""``inarch check``: the table, the reasons and the exit codes."""

import json

import pytest

import inarch
from inarch.cli.main import main

import broken_methods as broken

QUICK = ["--model", "llama", "--law", "starts-from-the-base", "--law", "6"]


@pytest.fixture
def broken_method(monkeypatch: pytest.MonkeyPatch) -> None:
    """``good`` by name is a method whose delta is wrong."""
    method = broken.building(broken.MergesAnother)
    monkeypatch.setattr("inarch.api.method", lambda name, **settings: method)


def test_a_good_method_is_a_table_and_code_0(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "lora", "--set", "rank=4", *QUICK]) == 0
    printed = capsys.readouterr()
    lines = [line.split() for line in printed.out.splitlines()]
    assert lines[0] == ["law", "llama"]
    assert lines[1] == ["2", "starts-from-the-base", "held"]
    assert lines[2] == ["6", "merges", "held"]
    assert "every law that applies is held" in printed.out
    assert printed.err == ""


def test_a_broken_law_is_said_and_code_1(broken_method: None, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "good", *QUICK]) == 1
    out = capsys.readouterr().out
    assert [line.split()[-1] for line in out.splitlines()[1:3]] == ["held", "broken"]
    assert "broken: 6 merges, on llama: Merged, its answers differ" in out


def test_json_holds_the_settings_and_every_finding(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "lora", "--set", "rank=4", "--set", "targets=[q_proj, v_proj]", *QUICK, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["method"] == "lora"
    assert found["settings"]["rank"] == 4
    assert found["settings"]["targets"] == ["q_proj", "v_proj"]
    assert found["holds"] is True
    assert found["findings"][0] == {
        "law": "starts-from-the-base", "number": 2, "model": "llama", "outcome": "held", "reason": "",
    }  # fmt: skip


def test_a_method_that_attaches_to_nothing_has_shown_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "bitfit", *QUICK]) == 1
    assert "attaches to none of the models" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["check", "lorra"], 'did you mean "lora"'),
        (["check", "lora", "--model", "lama"], 'did you mean "llama"'),
        (["check", "lora", "--law", "merge"], 'did you mean "merges"'),
        (["check", "lora", "--law", "11"], 'no law "11"'),
        (["check", "lora", "--set", "rank"], 'such as "rank=4"'),
        (["check", "lora", "--set", "rank=four"], "lora.rank is 'four'"),
        (["check", "lora", "--set", "rank=[4"], "cannot be read"),
        (["check", "lora", "--set", "ranks=4"], 'did you mean "rank"'),
    ],
)
def test_wrong_use_is_one_line_and_code_2(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.count("\n") == 1
    assert said in printed.err


def test_it_is_the_kit_that_checks() -> None:
    """The command adds nothing to what an author's own tests see."""
    from inarch.testing import check

    result = check("lora", models=["llama"], laws=[2, 6])
    assert result.method == inarch.method("lora")
    assert [finding.law.number for finding in result.findings] == [2, 6]
