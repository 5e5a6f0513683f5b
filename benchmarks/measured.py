"""The section "Measured" of the README, from the committed results: ``python -m inarch_benchmarks.measured``.

So no figure stands there that a command of this repository did not produce.
"""

import json
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"
README = Path(__file__).parent.parent / "README.md"
BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"


def section() -> str:
    """The section in Markdown."""
    parts = [
        describe(json.loads((RESULTS / f"{name}.json").read_text()))
        for name, describe in {
            "demo": _demo,
            "arena": _arena,
            "overhead": _overhead,
            "routing": _routing,
            "expert_lora": _expert_lora,
        }.items()
    ]
    return "\n\n".join([BEGIN, *parts, END])


def rewritten(readme: str) -> str:
    """The README with the section as the results have it now."""
    before, rest = readme.split(BEGIN)
    return before + section() + rest.split(END)[1]


def _demo(found: dict[str, Any]) -> str:
    versions = found["versions"]
    rows = [
        f"| {row['contender']} | {row['trainable']:,} | {row['accuracy']:.1%} ± {100 * row['spread']:.1f} |"
        for row in found["rows"]
    ]
    head = (
        f"`make demo`: 100 labelled handwritten digits, {len(found['seeds'])} seeds, on a vision transformer of "
        f"{found['runs'][0]['base_parameters']:,} parameters\npretrained on drawn glyphs; {found['seconds']:.0f} s on "
        f"{found['processors']} cores, {found['date'][:10]}, torch {versions['torch']}, transformers "
        f"{versions['transformers']}."
    )
    table = ["| method | trainable | test accuracy |", "|---|---:|---:|", *rows]
    return "\n".join([head, "", *table, "", found["verdict"], "", "![](benchmarks/results/accuracy.png)"])


def _arena(found: dict[str, Any]) -> str:
    machine, summary = found["machine"], found["summary"]
    head = (
        f"`make arena`: {found['models']} architectures of transformers {machine['transformers']} at tiny size, each "
        "adapted with default targets,\ntrained for two steps, saved, loaded into a fresh model and given back; "
        f"{found['seconds'] / 60:.0f} minutes, {machine['date']}, torch {machine['torch']}."
    )
    rows = [
        f"| {method} | {told['passed']} | {told['refused']} | {told['failed'] + told['missing']} |"
        for method, told in summary.items()
    ]
    table = ["| method | passed | refused, with the reason | failed |", "|---|---:|---:|---:|", *rows]
    return "\n".join([head, "", *table, "", "Every cell with its reason: [the arena](benchmarks/results/arena.md)."])


def _overhead(found: dict[str, Any]) -> str:
    machine, results = found["machine"], found["results"]
    ratios = [{row["operation"]: f"{row['ratio']:.3f}" for row in rows} for rows in results.values()]
    goals = [f"{row['goal']:g}" if row["goal"] else "" for row in next(iter(results.values()))]
    lines = [
        f"| {operation} | {' | '.join(of[operation] for of in ratios)} | {goal} |"
        for operation, goal in zip(ratios[0], goals, strict=True)
    ]
    head = (
        f"`make benchmark`: time as a multiple of peft {machine['peft']}'s, side by side in one process; below 1 is "
        f"faster;\n{machine['threads']} thread, {machine['cpu']}, {machine['date']}, torch {machine['torch']}."
    )
    return "\n".join([head, "", f"| LoRA, rank 8 | {' | '.join(results)} | goal |", "|---|---:|---:|---:|", *lines])


def _routing(found: dict[str, Any]) -> str:
    machine, rows = found["machine"], found["results"]
    head = (
        f"`make benchmark`: a batch of {rows[0]['rows']} rows with {rows[0]['adapters']} LoRA adapters on "
        f"{found['linears']} linear maps, as a multiple of the\nsame batch with one adapter, by Inarch and by peft "
        f"{machine['peft']} in one process; {machine['threads']} thread, {machine['date']}."
    )
    columns = list(rows[0]["ratios"])
    lines = []
    for row in rows:
        ratios = " | ".join(f"{row['ratios'][name]:.2f}" for name in columns)
        lines.append(f"| {row['tokens']} | {ratios} | {row['goal']:g} |")
    titles = f"| tokens a row | {' | '.join(columns)} | goal |"
    return "\n".join([head, "", titles, "|---:|" + "---:|" * (len(columns) + 1), *lines])


def _expert_lora(found: dict[str, Any]) -> str:
    machine = found["machine"]
    head = (
        f"`make benchmark`: LoRA on {found['experts']} fused experts, {found['chosen']} of them for each token, as a "
        f"multiple of the bare model's time, by\nInarch and by peft {machine['peft']} in one process; "
        f"{machine['threads']} thread, {machine['date']}."
    )
    lines = []
    for row in found["results"]:
        inarch, peft = (f"{row['multiple'][who]:.2f}" for who in ("inarch", "peft"))
        lines.append(f"| {row['operation']} | {inarch} | {peft} | {row['goal'] or ''} |")
    return "\n".join([head, "", "| operation | inarch | peft | goal |", "|---|---:|---:|---:|", *lines])


def main() -> None:
    """Rewrite the README."""
    README.write_text(rewritten(README.read_text()))


if __name__ == "__main__":
    main()
