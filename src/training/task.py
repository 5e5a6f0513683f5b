"""The contract of a task: what it learns from the data, which model it loads, how it is measured."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

from .config import DataConfig
from .pretrained import Pretrained
from .table import Table

Example = Mapping[str, Any]


class Task(ABC):
    """One kind of problem.

    Attributes:
        name: What the registry calls it.
        metric_names: The numbers among its metrics; more of each is better.
        best_metric: The one that chooses the best adapter unless the run names another.
        data: Which columns hold what.
        facts: What ``learn`` found.
    """

    name: ClassVar[str]
    metric_names: ClassVar[tuple[str, ...]]
    best_metric: ClassVar[str]

    def __init__(self, data: DataConfig, facts: Mapping[str, Any]) -> None:
        self.data = data
        self.facts = facts

    def summary(self) -> str:
        """What ``learn`` found, in a few words for the user."""
        return ", ".join(f"{name}: {value}" for name, value in self.facts.items())

    @classmethod
    @abstractmethod
    def learn(cls, data: DataConfig, train: Table) -> dict[str, Any]:
        """What must be known of the training rows before a model can be loaded, such as the labels, as JSON types.

        Raises:
            DataError: Rows that cannot be trained on.
        """

    @abstractmethod
    def check(self, table: Table) -> None:
        """Refuse rows that the trained model could not be measured on.

        Raises:
            DataError: Such as a label that training has not seen.
        """

    @abstractmethod
    def load(self, model: str, quant: str | None = None) -> Pretrained:
        """The base model with a head for this task.

        Args:
            model: A hub id or a local folder.
            quant: What its large linear maps are to be in, as ``load_pretrained`` takes it.

        Raises:
            ModelError: The model cannot be loaded.
        """

    @abstractmethod
    def encode(self, table: Table, tokenizer: Any, max_length: int) -> list[Example]:
        """The rows as the keyword arguments of the model's forward, labels included, at most ``max_length`` tokens."""

    @abstractmethod
    def collator(self, tokenizer: Any) -> Callable[[Sequence[Example]], dict[str, Any]]:
        """What makes a batch of examples."""

    @abstractmethod
    def metrics(self, predictions: Any, references: Any) -> dict[str, Any]:
        """Every metric, as JSON types.

        Args:
            predictions: What the model gave, such as logits of shape (rows, classes), as a NumPy array.
            references: The labels, shape (rows,).
        """
