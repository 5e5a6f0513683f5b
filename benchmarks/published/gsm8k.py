"""School mathematics: trained on MetaMathQA, asked GSM8K, as in the method comparison of Hugging Face peft.

Prompt, lengths, optimizer steps, filter and number of generated tokens are those of peft's method comparison on
MetaMathQA (``default_training_params.json``, ``data.py``, ``run.py`` and ``utils.py`` there): no example is shown in
the prompt, and the loss is over the whole text, question and answer. Otherwise than there, no question that validation
asks is among those that the training rows were made from, no row lacks its end-of-text token, and a comma in a number
is no mistake.
"""

from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

from torch import nn

from inarch_benchmarks.comparison import Base, Examples, Lessons, Recipe, Score
from inarch_benchmarks.published.batches import padded
from inarch_benchmarks.published.encoded import EncodedExamples, Example, Row
from inarch_benchmarks.published.generation import generate
from inarch_benchmarks.published.held_out import shuffled
from inarch_benchmarks.published.hub import Split
from inarch_benchmarks.published.hub_task import HubTask

TEMPLATE = "Question: {query} Think step by step.\nAnswer:"
CHARACTERS = 1300
"""Training rows of more characters, question and answer together, are left out."""
NEW_TOKENS = 300
VALIDATION = 256
"""Questions of GSM8K's training split that settings are chosen by."""

_MARKERS = ("The answer is: ", "The answer is ", "The final answer is: ", "The final answer is ", "#### ")


class GSM8K(HubTask):
    """Questions of school mathematics, by exact match of the final number of what is generated."""

    name = "math/gsm8k"
    metric = "exact_match"
    metrics = ("exact_match",)
    chance = 0.0
    model = "meta-llama/Llama-3.2-3B"
    recipe = Recipe(steps=5000, batch_size=4, warmup=0.1, schedule="cosine", weight_decay=0.1)
    architecture = "AutoModelForCausalLM"
    longest = 768
    evaluation_batch = 50

    training = Split("meta-math/MetaMathQA", None, "train")
    tests = (Split("openai/gsm8k", "main", "test"),)
    questions = Split("openai/gsm8k", "main", "train")

    def columns(self) -> tuple[str, ...]:
        """Those of GSM8K."""
        return ("question", "answer")

    def splits(self) -> Mapping[Split, tuple[str, ...]]:
        """The training split is another data set."""
        metamath = {self.training: ("query", "response", "original_question")}
        return metamath | dict.fromkeys((self.questions, *self.tests), self.columns())

    def asked(self) -> dict[str, Any]:
        """The prompt and the limits as well."""
        return {"longest": self.longest, "limits": [CHARACTERS, NEW_TOKENS, VALIDATION], "template": TEMPLATE}

    def lessons(self, base: Base, seed: int) -> Lessons:
        """MetaMathQA without what was made from the questions of validation, and those questions."""
        questions = self._rows(self.questions)
        validation = [_asked(questions[number]) for number in shuffled(len(questions))[:VALIDATION]]
        kept_apart = {_plain(row["query"]) for row in validation}
        rows = [
            row
            for row in self._rows(self.training)
            if len(f"{row['query']} {row['response']}") <= CHARACTERS
            and _plain(row["original_question"]) not in kept_apart
        ]
        return Lessons(self.examples(base, rows), self.examples(base, validation))

    def examination(self, base: Base) -> Examples:
        """The test split of GSM8K."""
        return self.examples(base, [_asked(row) for split in self.tests for row in self._rows(split)])

    def encode(self, rows: Sequence[Row], tokenizer: Any, limit: int) -> list[Example]:
        """Tokens of question and answer with an end-of-text token; all of them are labels."""
        texts = [prompt(row["query"]) + row["response"] for row in rows]
        tokens = [[*ids[: limit - 1], tokenizer.eos_token_id] for ids in tokenizer(texts)["input_ids"]]
        return [{"input_ids": ids, "labels": ids} for ids in tokens]

    def collate(self, examples: Sequence[Example], tokenizer: Any) -> dict[str, Any]:
        """Pads on the right; padding is no label."""
        return padded(examples, tokenizer)

    def score(self, model: nn.Module, examples: Examples) -> Score:
        """The share of the questions whose final number is right."""
        assert isinstance(examples, EncodedExamples)
        prompts = [prompt(row["query"]) for row in examples.rows]
        written = generate(
            model, examples.tokenizer, prompts, self.evaluation_batch, examples.limit, max_new_tokens=NEW_TOKENS
        )
        right = [float(is_right(text, row["response"])) for text, row in zip(written, examples.rows, strict=True)]
        return Score({"exact_match": sum(right) / len(right)}, right)


def prompt(query: str) -> str:
    """What a question is asked by."""
    return TEMPLATE.format(query=query)


def is_right(text: str, response: str) -> bool:
    """Whether a text ends in the number that a response ends in."""
    number = final_number(text)
    return number is not None and number == final_number(response)


def final_number(text: str) -> Fraction | None:
    """The number after the last marker of an answer, such as ``####``; None where there is no marker or no number."""
    marker = next((marker for marker in _MARKERS if marker in text), None)
    if marker is None:
        return None
    answer = text.rpartition(marker)[-1].strip().split("\n", 1)[0].strip(" .!?$%").replace(",", "")
    try:
        return Fraction(answer)
    except (ValueError, ZeroDivisionError):
        return None


def _asked(row: Row) -> Row:
    """A row of GSM8K with the column names of MetaMathQA."""
    return {"query": row["question"], "response": row["answer"]}


def _plain(question: str) -> str:
    return " ".join(question.split()).lower()
