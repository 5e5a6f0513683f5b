"""Text classification: one of several labels for a text, or for a pair of texts."""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from inarch import hookimpl
from inarch.errors import DataError, shortened
from inarch.training import DataConfig, Example, Pretrained, Table, Task, load_pretrained


class TextClassification(Task):
    """A label for a text, by a sequence-classification head on the base model.

    Precision, recall and F1 are macro averages: the plain mean over the labels, so that a rare label counts as much as
    a common one. A label that is never predicted has precision 0.
    """

    name = "text-classification"
    metric_names = ("accuracy", "precision", "recall", "f1")
    best_metric = "f1"

    @classmethod
    def learn(cls, data: DataConfig, train: Table) -> dict[str, Any]:
        """The labels, in order: by value where all are integers, else by their text.

        Raises:
            DataError: Fewer than two labels, or numbers that are no classes.
        """
        labels = Counter(_labels(train, data.label))
        if len(labels) < 2:
            raise DataError(
                f'{train.name}: every row has the label "{next(iter(labels))}" in column "{data.label}". '
                "Give rows of at least two labels."
            )
        return {"labels": sorted(labels, key=_by_value if all(map(_is_integer, labels)) else str)}

    def summary(self) -> str:
        """The labels."""
        return f"{len(self.labels)} labels: {shortened(self.labels)}"

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels in the order of the head's outputs."""
        return tuple(self.facts["labels"])

    def check(self, table: Table) -> None:
        """Refuse labels that training has not seen, and rows without text.

        Raises:
            DataError: Naming them and where they stand.
        """
        unseen = sorted(set(_labels(table, self.data.label)) - set(self.labels))
        if unseen:
            raise DataError(
                f'{table.name}: column "{self.data.label}" holds labels that the training data do not: '
                f"{shortened(unseen)}. Add training rows for them or drop these rows."
            )
        for column in self.data.text:
            _check_texts(table, column)

    def load(self, model: str, quant: str | None = None) -> Pretrained:
        """The model with a head of one output a label; a head for other labels is drawn anew."""
        from transformers import AutoModelForSequenceClassification

        names = dict(enumerate(self.labels))
        numbers = {label: index for index, label in names.items()}
        settings = {"num_labels": len(names), "id2label": names, "label2id": numbers}
        # Without it a model for regression or several labels a row keeps its own loss.
        settings["problem_type"] = "single_label_classification"
        return load_pretrained(AutoModelForSequenceClassification, model, quant, **settings)

    def encode(self, table: Table, tokenizer: Any, max_length: int) -> list[Example]:
        """Tokens of each row, cut at ``max_length``, and the label's number under ``labels``."""
        columns = [[str(text) for text in table.column(name)] for name in self.data.text]
        encoded = tokenizer(*columns, truncation=True, max_length=max_length)
        numbers = {label: index for index, label in enumerate(self.labels)}
        labels = [numbers[label] for label in _labels(table, self.data.label)]
        return [
            {**{key: values[row] for key, values in encoded.items()}, "labels": label}
            for row, label in enumerate(labels)
        ]

    def collator(self, tokenizer: Any) -> Callable[[Sequence[Example]], dict[str, Any]]:
        """Pads each batch to its longest row."""
        from transformers import DataCollatorWithPadding

        collator: Callable[[Sequence[Example]], dict[str, Any]] = DataCollatorWithPadding(tokenizer)
        return collator

    def metrics(self, predictions: Any, references: Any) -> dict[str, Any]:
        """Accuracy, macro precision, recall and F1, and the confusion matrix: a row a true label, a column a guess."""
        from sklearn.metrics import accuracy_score, confusion_matrix, precision_recall_fscore_support

        guesses = predictions.argmax(axis=-1)
        classes = list(range(len(self.labels)))
        precision, recall, f1, _ = precision_recall_fscore_support(
            references, guesses, labels=classes, average="macro", zero_division=0
        )
        return {
            "accuracy": float(accuracy_score(references, guesses)),
            "precision": float(precision),
            "recall": float(recall),
            "f1": float(f1),
            "labels": list(self.labels),
            "confusion_matrix": confusion_matrix(references, guesses, labels=classes).tolist(),
        }


def _labels(table: Table, column: str) -> list[str]:
    """The labels as text, so that 1 in a Parquet file and "1" in a CSV file are one label."""
    values = table.column(column)
    fraction = next((value for value in values if isinstance(value, float) and not value.is_integer()), None)
    if fraction is not None:
        raise DataError(f'{table.name}: column "{column}" holds {fraction}: labels are classes. Name another column.')
    labels = [str(int(value)) if isinstance(value, float) else str(value) for value in values]
    if "" in labels:
        raise DataError(
            f'{table.name}: row {labels.index("") + 1} has no label in column "{column}". Fill it in or drop the row.'
        )
    return labels


def _is_integer(label: str) -> bool:
    return label.removeprefix("-").isdecimal()


def _by_value(label: str) -> Any:
    return int(label), label


def _check_texts(table: Table, column: str) -> None:
    for number, value in enumerate(table.column(column), start=1):
        if not isinstance(value, str):
            raise DataError(
                f'{table.name}: row {number} holds {value!r} in column "{column}", which is no text. '
                "Name the column of the texts in data.text."
            )


@hookimpl
def register_tasks(register: Callable[[type[Task]], None]) -> None:
    """Offer the task to the registry."""
    register(TextClassification)
