"""The engine of a run: on, with the memory that the config allows, unless the config says no."""

from collections.abc import Callable, Iterator, Sized
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from .preparation import Preparation
from .task import Example

if TYPE_CHECKING:
    from .trainer import AdapterTrainer


@contextmanager
def run_engine(trainer: "AdapterTrainer", preparation: Preparation, say: Callable[[str], None]) -> Iterator[None]:
    """Inside, the model of a run is computed by the engine; what came of its features is said.

    Raises:
        ConfigError: No plan of checkpoints fits the memory that the config allows.
    """
    from ..engine import engine

    config = preparation.config
    if not config.engine:
        yield
        return
    batch = trainer._prepare_inputs(_largest_batch(preparation))
    with trainer.compute_loss_context_manager():  # under the autocast of training
        running = engine(preparation.pretrained.model, batch, memory=config.memory)
    with running:
        say(f"Engine:\n{running.report()}")
        yield


def _largest_batch(preparation: Preparation) -> dict[str, Any]:
    """The longest examples, as many as a batch of training has."""
    longest = sorted(preparation.examples["train"], key=_size, reverse=True)
    chosen = longest[: preparation.arguments.train_batch_size]
    return preparation.task.collator(preparation.tokenizer)(chosen)


def _size(example: Example) -> int:
    return sum(len(value) for value in example.values() if isinstance(value, Sized))
