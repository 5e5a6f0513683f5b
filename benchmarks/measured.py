"""The section "Measured" of the README, from the committed results: ``python -m inarch_benchmarks.measured``.

So no figure stands there that a command of this repository did not produce.
"""

import json
from pathlib import Path
from statistics import median
from typing import Any

RESULTS = Path(__file__).parent / "results"
COMPARISON = "all-methods/findings"
README = Path(__file__).parent.parent / "README.md"
BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"


def section() -> str:
    """The section in Markdown."""
    parts = [
        describe(json.loads((RESULTS / f"{name}.json").read_text()))
        for name, describe in {
            "demo": _demo,
            COMPARISON: _comparison,
            "harness": _harness,
            "arena": _arena,
            "overhead": _overhead,
            "routing": _routing,
            "expert_lora": _expert_lora,
            "quantised_training": _quantised_training,
            "loading": _loading,
            "dequantise": _dequantise,
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


def _comparison(found: dict[str, Any]) -> str:
    rows = {(row["contender"], row["task"]): row for row in found["rows"]}
    tasks = list(dict.fromkeys(row["task"] for row in found["rows"]))
    gaps = {row["contender"]: row["gap"] for row in found["summaries"]}
    timing = next(row["timing"] for row in found["rows"] if row["timing"])
    software, hardware = timing["software"], timing["hardware"]
    head = (
        f"`make comparison`: test score, and the share of the way from the head alone to full fine-tuning over "
        f"{len(tasks)} small tasks with its 95 %\ninterval; every setting tuned by equally many trials, "
        f"{max(row['seeds'] for row in found['rows'])} seeds, {hardware['cores']} cores, {hardware['processor']}, "
        f"{timing['date'][:10]}, torch {software['torch']},\ntransformers {software['transformers']}, peft "
        f"{software['peft']}. [The report](benchmarks/results/all-methods/report.html) has the rest: intervals, what "
        "cannot be told apart,\nmemory, time, forgetting, learning curves."
    )
    lines = []
    for contender, gap in gaps.items():
        of = [rows[contender, task] for task in tasks if (contender, task) in rows]
        sizes = sorted(int(row["figures"]["method"]) for row in of if row["figures"].get("method") is not None)
        scores = [_scored(rows.get((contender, task))) for task in tasks]
        share = f"{gap['mean']:.2f} ({gap['low']:.2f} to {gap['high']:.2f})" if gap else ""
        size = f"{sizes[0]:,} to {sizes[-1]:,}" if sizes and sizes[0] != sizes[-1] else f"{sizes[0]:,}" if sizes else ""
        lines.append(f"| {contender} | {size} | {' | '.join(scores)} | {share} |")
    titles = f"| | trained, without the head | {' | '.join(tasks)} | share of the gap |"
    picture = "![](benchmarks/results/all-methods/score-parameters.png)"
    return "\n".join([head, "", titles, "|---|---:|" + "---:|" * (len(tasks) + 1), *lines, "", picture])


def _scored(row: dict[str, Any] | None) -> str:
    return f"{row['score']['mean']:.3f}" if row and row["score"] else ""


def _harness(found: dict[str, Any]) -> str:
    machine = found["machine"]
    share = median(found["shares"])
    seconds = {name: f"{median(of):.1f} s" for name, of in found["seconds"].items()}
    return (
        f"`make benchmark`: the harness of comparisons takes {share:.2%} of a session beside loading, training and "
        f"scoring. From a store of\n{found['stored']:,} runs it reports on a suite of {found['of the suite']:,} in "
        f"{seconds['report']}, and answers a query over all of them in {seconds['query']}\n({seconds['query, first']} "
        f"the first time). Of each, {seconds['start']} are the start of any command, which imports torch; "
        f"{machine['cpu']}, {machine['date']}."
    )


def _arena(found: dict[str, Any]) -> str:
    machine, summary = found["machine"], found["summary"]
    head = (
        f"`make arena`: {found['models']} architectures of transformers {machine['transformers']} at tiny size, each "
        "adapted with default targets,\ntrained for two steps, saved, loaded into a fresh model and given back; "
        f"{found['seconds'] / 60:.0f} minutes, {machine['date']}, torch {machine['torch']}."
    )
    rows = [
        f"| {method} | {told['passed']} | {told['refused']} | {told['failed']} |" for method, told in summary.items()
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


def _quantised_training(found: dict[str, Any]) -> str:
    machine, goals = found["machine"], found["goals"]
    head = (
        "`make benchmark`: a training step of LoRA on a Llama shape whose linear maps are in bitsandbytes' NF4, as a "
        f"multiple of peft\n{machine['peft']}'s in one process; peak memory beyond what lies there between steps; "
        f"{machine['threads']} thread, {machine['cpu']}, {machine['date']}.\nWhat checkpointing adds to a step stands "
        "beside the step without it."
    )
    lines = []
    for row in found["rows"]:
        added = found["recomputation"].get(row["setting"])
        figures = f"{row['ratio']:.2f} | {row['memory']:.2f} | {'' if added is None else f'{added:.2f}'}"
        lines.append(f"| {row['setting']} | {figures} |")
    goal = f"| goal | {goals['step']:g} | {goals['memory']:g} | {goals['recomputation']:g} |"
    titles = "| | time | peak memory | checkpointing adds |"
    return "\n".join([head, "", titles, "|---|---:|---:|---:|", *lines, goal])


def _loading(found: dict[str, Any]) -> str:
    machine = found["machine"]
    head = (
        "`make benchmark`: memory of the process itself while a model is loaded from float32 in bfloat16, whose "
        f"largest tensor there is\n{found['largest_tensor']:.0f} MB; {machine['date']}, transformers "
        f"{machine['transformers']}."
    )
    lines = [f"| {way} | {row['model']:.0f} MB | {row['peak']:.0f} MB |" for way, row in found["results"].items()]
    return "\n".join([head, "", "| loaded as | model | peak |", "|---|---:|---:|", *lines])


def _dequantise(found: dict[str, Any]) -> str:
    machine = found["machine"]
    head = (
        f"`make benchmark`: time of dequantising on a CPU as a multiple of bitsandbytes {machine['bitsandbytes']}'s, "
        f"into memory that is there\n(as the engine does) and into fresh memory; {machine['cpu']}, {machine['date']}."
    )
    lines = []
    for row in found["results"]:
        size = " x ".join(map(str, row["shape"]))
        ratios = " | ".join(f"{row['ratios'][name]:.2f}" for name in ("inarch, into a tensor", "inarch"))
        lines.append(f"| {row['operation']}, {size}, {row['dtype']} | {row['threads']} | {ratios} |")
    return "\n".join([head, "", "| | threads | into memory | fresh |", "|---|---:|---:|---:|", *lines])


def main() -> None:
    """Rewrite the README."""
    README.write_text(rewritten(README.read_text()))


if __name__ == "__main__":
    main()
