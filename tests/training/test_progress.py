from io import StringIO

import pytest
from rich.console import Console
from transformers import TrainerControl, TrainerState, TrainingArguments

from inarch.training.progress import ProgressBar


@pytest.fixture
def arguments() -> TrainingArguments:
    return TrainingArguments(use_cpu=True, report_to="none")


def watched(arguments: TrainingArguments, terminal: bool) -> str:
    out = StringIO()
    bar = ProgressBar(Console(file=out, force_terminal=terminal, width=120), metric="f1")
    state, control = TrainerState(max_steps=2), TrainerControl()
    bar.on_train_begin(arguments, state, control)
    for step in (1, 2):
        state.global_step = step
        bar.on_step_end(arguments, state, control)
        bar.on_log(arguments, state, control, logs={"loss": 0.5 / step, "learning_rate": 0.1})
    bar.on_log(arguments, state, control, logs={"eval_loss": 0.75, "eval_f1": 0.125, "eval_runtime": 3.0})
    bar.on_evaluate(arguments, state, control)
    bar.on_train_end(arguments, state, control)
    bar.close()
    return out.getvalue()


def test_a_bar_in_a_terminal(arguments: TrainingArguments) -> None:
    shown = watched(arguments, terminal=True)
    assert "2/2" in shown
    assert "loss 0.2500  validation 0.7500  f1 0.1250" in shown
    assert "step 2/2" not in shown


def test_a_line_for_each_evaluation_elsewhere(arguments: TrainingArguments) -> None:
    assert watched(arguments, terminal=False) == "step 2/2 loss 0.2500  validation 0.7500  f1 0.1250\n"
