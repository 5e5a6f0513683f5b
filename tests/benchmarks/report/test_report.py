import json
import re
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest

from inarch_benchmarks.analysis.findings import Findings
from inarch_benchmarks.comparison.files import StoreError
from inarch_benchmarks.comparison.suite import PublishedRow
from inarch_benchmarks.report import About, findings_json, write_report

from made_up import findings

CHARTS = (
    "score-parameters", "heat-map", "score-memory", "score-time", "learning-curves", "tuning-curves", "forgetting",
)  # fmt: skip
SECTIONS = ("summary", "limits", "differences", "figures", "slices", "failures", "published", "provenance", *CHARTS)

VOID = {"meta", "br", "input", "link", "img", "hr", "line", "circle", "path", "use", "rect"}

HOSTILE = '<script>alert("x")</script>&\'$\\frac$'

ABOUT = About(
    title="Six methods on two tasks",
    description="What a suite looks like.",
    command="inarch bench run made-up && inarch bench report made-up",
    notes=("A quarter of a million parameters say nothing about billions.",),
    date="2026-11-22",
    published=(
        PublishedRow(label="LoRA", source="a paper", task="digits", score=87.5, parameters=9_000, note="median"),
    ),
)


class Page(HTMLParser):
    """Checks that elements are closed in order, and notes what they are."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in ("script", "style"):
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


@pytest.fixture(scope="module")
def found() -> Findings:
    return findings(tasks=2, methods=10)


@pytest.fixture(scope="module")
def folder(found: Findings, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report") / "new"
    write_report(found, ABOUT, folder)
    return folder


@pytest.fixture(scope="module")
def page(folder: Path) -> Page:
    return Page((folder / "report.html").read_text(encoding="utf-8"))


def hostile(found: Findings) -> Findings:
    """The same with a first method that is called after what it would like to do."""
    name = next(row.entry.contender for row in found.rows if row.entry.kind == "method")
    told = name + HOSTILE

    def renamed(label: str) -> str:
        return told if label == name else label

    return replace(
        found,
        rows=tuple(
            replace(row, entry=replace(row.entry, contender=renamed(row.entry.contender))) for row in found.rows
        ),
        differences=tuple(replace(one, one=renamed(one.one), other=renamed(one.other)) for one in found.differences),
        summaries=tuple(replace(one, contender=renamed(one.contender)) for one in found.summaries),
        remarks=(*found.remarks, HOSTILE),
        suite=HOSTILE,
    )


def test_every_section_and_every_file_is_there(page: Page, folder: Path) -> None:
    ids = [attributes["id"] for tag, attributes in page.elements if tag == "section"]
    assert set(ids) == set(SECTIONS)
    links = [attributes["href"] for tag, attributes in page.elements if tag == "a"]
    assert {f"#{name}" for name in ids} <= set(links)
    expected = {"report.html", "findings.json", *(f"{name}.{end}" for name in CHARTS for end in ("png", "svg"))}
    assert {path.name for path in folder.iterdir()} == expected


def test_the_page_needs_nothing_else(page: Page, folder: Path) -> None:
    text = (folder / "report.html").read_text(encoding="utf-8")
    assert not re.search(r"https?://|@import|url\((?!#)", text)
    for tag, attributes in page.elements:
        assert tag not in ("link", "iframe", "img", "object", "embed")
        assert "src" not in attributes
        for name in ("href", "xlink:href"):
            assert attributes.get(name, "#").startswith("#"), attributes
    policy = next(attributes["content"] for tag, attributes in page.elements if "http-equiv" in attributes)
    assert "default-src 'none'" in policy


def test_no_id_stands_twice_and_every_reference_has_one(page: Page) -> None:
    ids = Counter(attributes["id"] for _, attributes in page.elements if "id" in attributes)
    assert [name for name, number in ids.items() if number > 1] == []
    used = {attributes["xlink:href"][1:] for _, attributes in page.elements if "xlink:href" in attributes}
    clips = {attributes["clip-path"][5:-1] for _, attributes in page.elements if "clip-path" in attributes}
    assert used
    assert used | clips <= set(ids)


def test_pictures_are_told_to_those_who_do_not_see_them(page: Page, found: Findings) -> None:
    told = [attributes["aria-label"] for tag, attributes in page.elements if attributes.get("role") == "img"]
    assert len(told) == 6 * 2 + 1  # six charts with a panel a task, and the heat map
    assert all(len(words) > 30 for words in told)
    for row in found.rows:
        if row.entry.kind == "method" and row.score:
            assert f"{row.entry.contender}: {row.entry.metric} {row.score.mean:.3f}" in page.text


def test_it_says_what_was_found(page: Page, found: Findings) -> None:
    for remark in found.remarks:
        assert remark in page.text
    for words in (ABOUT.title, ABOUT.description, ABOUT.command, *ABOUT.notes, "87.5", "the loss was NaN at step 12"):
        assert words in page.text
    verdicts = Counter(one.verdict for one in found.differences)
    shown = Counter(
        a["class"] for tag, a in page.elements if tag == "span" and a.get("class", "").startswith("verdict")
    )
    assert shown == {f"verdict {name}": number for name, number in verdicts.items()}
    assert verdicts["indistinguishable"] > 0
    assert page.text.index(found.remarks[0]) < page.text.index("has the highest mean")


def test_every_row_and_figure_is_in_the_table(page: Page, found: Findings) -> None:
    assert sum(tag == "tr" and "data-place" in attributes for tag, attributes in page.elements) == len(found.rows)
    start = next(i for i, (tag, a) in enumerate(page.elements) if tag == "table" and a.get("id") == "figures-table")
    heads = [attributes for tag, attributes in page.elements[start:] if tag == "th" and "data-group" in attributes]
    assert len(heads) >= 18
    assert {head["data-group"] for head in heads} == {"score", "parameters", "memory", "time", "forgetting", "runs"}
    for words in (
        "gap recovered",
        "without head",
        "effective",
        "stored",
        "activations",
        "merged",
        "no merge",
        "1 failed",
        "edge",
    ):
        assert words in page.text


def test_tables_are_sorted_by_buttons(page: Page) -> None:
    buttons = [attributes for tag, attributes in page.elements if tag == "button"]
    assert buttons
    assert all(attributes["type"] == "button" for attributes in buttons)
    assert not any("onclick" in attributes for _, attributes in page.elements)


def test_hostile_names_stay_words(tmp_path: Path) -> None:
    about = replace(ABOUT, title=HOSTILE, description=HOSTILE, command=HOSTILE, notes=(HOSTILE,))
    write_report(hostile(findings(tasks=1, methods=4)), about, tmp_path)
    page = Page((tmp_path / "report.html").read_text(encoding="utf-8"))
    assert sum(tag == "script" for tag, _ in page.elements) == 1
    assert page.text.count("alert(") > 15
    for path in tmp_path.glob("*.svg"):
        assert not [one for one in ElementTree.parse(path).iter() if one.tag.endswith("script")]


def test_svg_files_are_whole(folder: Path) -> None:
    for name in CHARTS:
        root = ElementTree.parse(folder / f"{name}.svg").getroot()
        assert root.tag == "{http://www.w3.org/2000/svg}svg"
        assert sum(one.tag == root.tag for one in root.iter()) == (2 if name == "heat-map" else 3)
        words = " ".join(root.itertext())
        assert "lora r8" in words
        assert "var(" not in ElementTree.tostring(root, encoding="unicode")


def test_png_files_hold_a_picture(folder: Path) -> None:
    from PIL import Image

    for name in CHARTS:
        with Image.open(folder / f"{name}.png") as picture:
            assert min(picture.size) > 600
            assert picture.mode == "RGB"
            assert len(picture.getcolors(1 << 24) or ()) > 20


def test_the_json_is_strict_and_whole(folder: Path, found: Findings) -> None:
    def refuse(word: str) -> None:
        raise AssertionError(word)

    told = json.loads((folder / "findings.json").read_text(), parse_constant=refuse)
    assert told == json.loads(findings_json(found))
    assert len(told["rows"]) == len(found.rows)
    assert len(told["differences"]) == len(found.differences)
    row = next(row for row in told["rows"] if row["contender"] == "lora r8")
    assert row["figures"]["trainable"] == 8_842
    assert set(row["runs"]) == {"0", "1", "2", "3", "4"}
    assert next(row for row in told["rows"] if row["contender"] == "zero-shot")["score"]["low"] is None


def test_a_suite_without_anything_is_reported(found: Findings, tmp_path: Path) -> None:
    rows = tuple(
        replace(row, entry=replace(row.entry, records=(), trials=(), timing={}), score=None, gap=None)
        for row in found.rows
    )
    write_report(replace(found, rows=rows, differences=(), summaries=(), stacks={}), About("Nothing", "", ""), tmp_path)
    page = Page((tmp_path / "report.html").read_text(encoding="utf-8"))
    assert "No run of a method has finished here." in page.text
    assert [path.name for path in tmp_path.glob("*.png")] == []


def test_one_seed_and_no_baseline_are_reported(tmp_path: Path) -> None:
    found = findings(tasks=1, methods=2)
    alone = next(row for row in found.rows if row.entry.contender == "zero-shot")
    assert alone.score
    rows = tuple(
        replace(row, score=replace(alone.score, mean=row.score.mean), gap=None) for row in found.rows if row.score
    )
    write_report(replace(found, rows=rows, differences=()), ABOUT, tmp_path)
    assert (tmp_path / "score-parameters.png").exists()


def test_a_full_disk_is_said(found: Findings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, content: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(StoreError, match=r"report.html cannot be written \(No space left on device\)"):
        write_report(replace(found, rows=found.rows[:3], differences=()), ABOUT, tmp_path)
    assert list(tmp_path.iterdir()) == []
