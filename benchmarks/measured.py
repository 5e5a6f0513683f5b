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
    demo, overhead = (json.loads((RESULTS / name).read_text()) for name in ("demo.json", "overhead.json"))
    return f"{BEGIN}\n{_demo(demo)}\n\n{_overhead(overhead)}\n{END}"


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


def main() -> None:
    """Rewrite the README."""
    README.write_text(rewritten(README.read_text()))


if __name__ == "__main__":
    main()
