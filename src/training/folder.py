"""The run folder: what a run leaves on disk.

    config.yaml        the config with every default filled in and every path absolute
    versions.json      what it was made with
    run.json           its status, and what it learnt of the data
    metrics.jsonl      one line a log or evaluation: step, epoch and numbers
    metrics.json       the final metrics of every split that was measured
    curve.png          the learning curve
    adapter/           the best adapter
    checkpoints/       what --resume goes on from; removed when the run has finished

Every file but the log is written at once, so that it is whole or not there.
"""

import json
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ..adapters.atomic import write_folder
from ..errors import ConfigError
from .atomic import write_text
from .config import RunConfig, parse_config
from .yaml_file import read_yaml, yaml_text

Status = Literal["running", "finished", "failed", "interrupted"]


@dataclass(frozen=True)
class RunFolder:
    """The folder of one run and the files in it."""

    path: Path

    @property
    def adapter(self) -> Path:
        """The folder of the best adapter."""
        return self.path / "adapter"

    @property
    def checkpoints(self) -> Path:
        """The folder of the checkpoints."""
        return self.path / "checkpoints"

    @property
    def curve(self) -> Path:
        """The learning curve."""
        return self.path / "curve.png"

    @property
    def metric_lines(self) -> Path:
        """The log, one JSON object a line."""
        return self.path / "metrics.jsonl"

    @property
    def exists(self) -> bool:
        """Whether a run has begun here."""
        return (self.path / "run.json").is_file()

    def check_free(self) -> None:
        """Refuse a place that something else has taken.

        Raises:
            ConfigError: A file, or a folder that is not empty.
        """
        if self.exists:
            raise ConfigError(
                f"The run folder {self.path} holds a run already. "
                "Go on with it by --resume, replace it by --overwrite, or set another output."
            )
        if self.path.is_file() or (self.path.is_dir() and any(self.path.iterdir())):
            raise ConfigError(f"The output {self.path} exists and is no run folder. Set another output.")

    def begin(self, config: Mapping[str, Any], versions: Mapping[str, Any], **more: Any) -> None:
        """Make the folder with its first files, all at once.

        Raises:
            CheckpointError: The folder cannot be written.
        """
        files = {
            "config.yaml": yaml_text(config),
            "versions.json": _json(versions),
            "run.json": _json({"status": "running", **more}),
            "metrics.jsonl": "",
        }
        write_folder(self.path, {name: [text.encode()] for name, text in files.items()})

    def remove(self) -> None:
        """Delete the run, if there is one; it is gone at once, should the deletion be interrupted."""
        if self.exists:
            trash = self.path.with_name(f".{self.path.name}.deleted")
            self.path.rename(trash)
            shutil.rmtree(trash)

    def config(self) -> RunConfig:
        """The config of the run that lies here.

        Raises:
            ConfigError: No run lies here, or its config is damaged.
        """
        if not self.exists:
            raise ConfigError(f"{self.path} is no run folder: it has no run.json. Give the output of `inarch train`.")
        path = self.path / "config.yaml"
        return parse_config(read_yaml(path), source=str(path))

    def read(self, name: str) -> dict[str, Any]:
        """One of the JSON files.

        Raises:
            ConfigError: The file is not there or is damaged.
        """
        path = self.path / name
        try:
            content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise ConfigError(f"The run has no {path}: has it finished? Go on with it by --resume.") from error
        except ValueError as error:
            raise ConfigError(f"{path} is damaged: {error}. Train again with --overwrite.") from error
        return content

    def write(self, name: str, content: Mapping[str, Any]) -> None:
        """One of the JSON files, at once."""
        write_text(self.path / name, _json(content))

    def mark(self, status: Status, **more: Any) -> None:
        """Set the run's status; what run.json says besides stays."""
        known = self.read("run.json")
        known.pop("error", None)
        self.write("run.json", {**known, "status": status, **more})

    def replace_lines(self, records: Iterable[Mapping[str, Any]]) -> None:
        """Make the log hold exactly these records."""
        write_text(self.metric_lines, "".join(map(_line, records)))

    def append_line(self, record: Mapping[str, Any]) -> None:
        """Add a record to the log; a process killed here leaves half a line, which resuming takes out."""
        with self.metric_lines.open("a", encoding="utf-8") as log:
            log.write(_line(record))

    def lines(self) -> list[dict[str, Any]]:
        """The records of the log."""
        text = self.metric_lines.read_text(encoding="utf-8")
        return [json.loads(line) for line in text.splitlines()]


def _json(content: Mapping[str, Any]) -> str:
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


def _line(record: Mapping[str, Any]) -> str:
    return json.dumps(record, ensure_ascii=False) + "\n"
