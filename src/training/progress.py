"""A progress bar for a run, on stderr."""

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments


class ProgressBar(TrainerCallback):
    """Steps, time left, the last losses and the last score.

    Where the console is no terminal, such as in a log file, it prints a line for each evaluation instead.
    """

    def __init__(self, console: Console, metric: str) -> None:
        self.console = console
        self.metric = metric
        self.bar = Progress(
            BarColumn(bar_width=12),  # so that everything fits into 80 columns
            MofNCompleteColumn(),
            TimeRemainingColumn(compact=True),
            TextColumn("left"),
            TextColumn("{task.fields[news]}"),
            console=console,
            disable=not console.is_terminal,
        )
        self.row = self.bar.add_task("training", total=None, news="")
        self.news: dict[str, float] = {}

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **more: Any
    ) -> None:
        """Show the bar, at the step that the run resumes from."""
        self.bar.start()
        self.bar.update(self.row, total=state.max_steps, completed=state.global_step)

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **more: Any) -> None:
        """Move on by a step."""
        self.bar.update(self.row, completed=state.global_step)

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: Mapping[str, Any] | None = None,
        **more: Any,
    ) -> None:
        """Show the newest numbers."""
        shown = {"loss": "loss", "eval_loss": "validation", f"eval_{self.metric}": self.metric}
        self.news |= {shown[key]: value for key, value in (logs or {}).items() if key in shown}
        self.bar.update(self.row, news=self._news())

    def on_evaluate(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **more: Any) -> None:
        """Leave a line behind where there is no bar."""
        if not self.console.is_terminal:
            self.console.print(f"step {state.global_step}/{state.max_steps} {self._news()}", highlight=False)

    def on_train_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **more: Any) -> None:
        """Let the bar stand as it is."""
        self.close()

    def close(self) -> None:
        """Give the terminal back; to be called if training ends by an error too."""
        self.bar.stop()

    def _news(self) -> str:
        return "  ".join(f"{name} {value:.4f}" for name, value in self.news.items())
