"""Everything a run needs, loaded and checked before anything is written."""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..adapters import prompt_length
from ..api import attach, method
from ..errors import ConfigError
from ..registry import registry
from .arguments import training_arguments
from .config import RunConfig
from .pretrained import Pretrained, load_tokenizer, token_limit
from .splits import Splits, read_splits
from .table import Table
from .task import Example, Task

if TYPE_CHECKING:
    from transformers import TrainingArguments

    from ..adapters import Adapter


@dataclass(frozen=True)
class Preparation:
    """A run that can begin.

    Attributes:
        config: The config, the method's defaults filled in.
        arguments: Trainer's arguments.
        task: The task, which knows the labels.
        splits: The rows.
        pretrained: The base model; the adapter is attached to it.
        tokenizer: Its tokenizer.
        adapter: What is trained.
        examples: The rows as the model takes them, by split.
    """

    config: RunConfig
    arguments: "TrainingArguments"
    task: Task
    splits: Splits
    pretrained: Pretrained
    tokenizer: Any
    adapter: "Adapter"
    examples: dict[str, list[Example]]

    def fingerprints(self) -> dict[str, str]:
        """What the data of each split were, to tell later whether they have changed."""
        return fingerprints(self.config, self.splits.tables())


def prepare(config: RunConfig) -> Preparation:
    """Load the data and the model, attach the method; nothing is written.

    Raises:
        InarchError: Whatever cannot be, with the fix.
    """
    from transformers import set_seed

    task_type = find_task(config.task)
    arguments = training_arguments(config, task_type)
    chosen = method(config.method.name, **config.method.settings)
    splits = read_splits(config.data, config.seed)
    task = task_type(config.data, task_type.learn(config.data, splits.train))
    for table in splits.tables().values():
        task.check(table)
    set_seed(config.seed)  # before the new weights of the head and of the adapter are drawn
    tokenizer = load_tokenizer(config.model)
    pretrained = load_model(task, config, tokenizer)
    chosen = chosen.for_steps(optimizer_steps(arguments, len(splits.train)))
    adapter = attach(pretrained.model, chosen, train=pretrained.fresh_backbone)
    limit = max_length(config, pretrained, tokenizer)
    return Preparation(
        config=config.model_copy(update={"method": _filled_in(config, chosen.to_dict())}),
        arguments=arguments,
        task=task,
        splits=splits,
        pretrained=pretrained,
        tokenizer=tokenizer,
        adapter=adapter,
        examples={name: task.encode(table, tokenizer, limit) for name, table in splits.tables().items()},
    )


def find_task(name: str) -> type[Task]:
    """The registered task of a name.

    Raises:
        UnknownNameError: No plugin brings it.
    """
    registry().collect("register_tasks", "task", Task)
    found: type[Task] = registry().item("task", name)
    return found


def load_model(task: Task, config: RunConfig, tokenizer: Any) -> Pretrained:
    """The base model for the task, padding as the tokenizer does."""
    pretrained = task.load(config.model, config.quant)
    pretrained.model.config.pad_token_id = tokenizer.pad_token_id
    return pretrained


def max_length(config: RunConfig, pretrained: Pretrained, tokenizer: Any) -> int:
    """The most tokens of an example: the config's, or the model's limit less what a prompt takes.

    Raises:
        ConfigError: The config asks for more than the model can take.
    """
    limit = token_limit(pretrained.model, tokenizer) - prompt_length(pretrained.model)
    wanted = config.data.max_length
    if wanted is not None and wanted > limit:
        raise ConfigError(f"data.max_length is {wanted}: {config.model} takes at most {limit} tokens. Lower it.")
    return wanted or limit


def optimizer_steps(arguments: "TrainingArguments", rows: int) -> int:
    """How many optimizer steps Trainer will make on ``rows`` training rows."""
    if arguments.max_steps > 0:
        steps: int = arguments.max_steps
        return steps
    batches = rows / arguments.train_batch_size
    whole = math.floor(batches) if arguments.dataloader_drop_last else math.ceil(batches)
    steps_an_epoch: int = max(1, math.ceil(whole / arguments.gradient_accumulation_steps))
    epochs: float = arguments.num_train_epochs
    return math.ceil(epochs * steps_an_epoch)


def fingerprints(config: RunConfig, tables: dict[str, Table]) -> dict[str, str]:
    """A fingerprint of the columns that the run reads, for each table."""
    columns = (*config.data.text, config.data.label)
    return {name: table.fingerprint(columns) for name, table in tables.items()}


def _filled_in(config: RunConfig, settings: dict[str, Any]) -> Any:
    return type(config.method)(name=config.method.name, **settings)
