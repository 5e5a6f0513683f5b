"""Summaries of one sentence (Narayan et al. 2018, arXiv:1808.08745), as in the paper of prefix-tuning.

Articles are cut after 512 tokens and decoded with a beam of 6 and a length normalisation of 0.8 (arXiv:2101.00190,
section 5); a summary has at most 60 tokens, as in the authors' code. ROUGE is that of ``rouge_score`` with stemming.
"""

from collections.abc import Sequence
from typing import Any

from torch import nn

from inarch_benchmarks.comparison import Base, Examples, Lessons, Recipe, Score
from inarch_benchmarks.comparison.extras import need
from inarch_benchmarks.published.batches import padded
from inarch_benchmarks.published.encoded import EncodedExamples, Example, Row
from inarch_benchmarks.published.generation import generate
from inarch_benchmarks.published.held_out import shuffled
from inarch_benchmarks.published.hub import Split
from inarch_benchmarks.published.hub_task import HubTask

DATASET = "EdinburghNLP/xsum"
REVISION = "refs/convert/parquet"  # the main branch is a script that makes the data, which no code here runs
SUMMARY = 60
"""The most tokens of a summary."""
DECODING = {"num_beams": 6, "length_penalty": 0.8, "max_length": SUMMARY + 2, "min_length": 0, "early_stopping": True}
VALIDATION = 500
"""Articles of the validation split that settings are chosen by; generating takes long."""


class XSum(HubTask):
    """The first sentence of a news article, written from the rest; by ROUGE, each the mean of F1 over articles."""

    name = "summarisation/xsum"
    metric = "rougeL"
    metrics = ("rougeL", "rouge1", "rouge2")
    chance = 0.0
    model = "facebook/bart-large"
    recipe = Recipe(epochs=30, batch_size=14, warmup=0.0)
    architecture = "AutoModelForSeq2SeqLM"
    longest = 512
    evaluation_batch = 16

    training = Split(DATASET, None, "train", REVISION)
    tests = (Split(DATASET, None, "test", REVISION),)
    validation = Split(DATASET, None, "validation", REVISION)

    def columns(self) -> tuple[str, ...]:
        """Article and summary."""
        return ("document", "summary")

    def splits(self) -> dict[Split, tuple[str, ...]]:
        """It has a validation split of its own."""
        return dict.fromkeys((self.training, self.validation, *self.tests), self.columns())

    def asked(self) -> dict[str, Any]:
        """The decoding as well."""
        return {"longest": self.longest, "summary": SUMMARY, "decoding": DECODING, "validation": VALIDATION}

    def lessons(self, base: Base, seed: int) -> Lessons:
        """The training split, and some of the validation split."""
        held = self._rows(self.validation)
        chosen = [held[number] for number in sorted(shuffled(len(held))[:VALIDATION])]
        return Lessons(self.examples(base, self._rows(self.training)), self.examples(base, chosen))

    def encode(self, rows: Sequence[Row], tokenizer: Any, limit: int) -> list[Example]:
        """Tokens of the articles, and those of the summaries as labels."""
        encoded = tokenizer([row["document"] for row in rows], truncation=True, max_length=limit)
        labels = tokenizer(text_target=[row["summary"] for row in rows], truncation=True, max_length=SUMMARY)
        columns = zip(encoded["input_ids"], encoded["attention_mask"], labels["input_ids"], strict=True)
        return [{"input_ids": ids, "attention_mask": mask, "labels": label} for ids, mask, label in columns]

    def collate(self, examples: Sequence[Example], tokenizer: Any) -> dict[str, Any]:
        """Pads articles and summaries; the model shifts the labels itself."""
        return padded(examples, tokenizer)

    def score(self, model: nn.Module, examples: Examples) -> Score:
        """ROUGE-1, ROUGE-2 and ROUGE-L of the generated summaries.

        Raises:
            ConfigError: ``rouge_score`` is not installed; the message names the extra.
        """
        assert isinstance(examples, EncodedExamples)
        scorer = need("rouge_score.rouge_scorer", "published").RougeScorer(list(self.metrics), use_stemmer=True)
        articles = [row["document"] for row in examples.rows]
        written = generate(model, examples.tokenizer, articles, self.evaluation_batch, examples.limit, **DECODING)
        found = [scorer.score(row["summary"], text) for row, text in zip(examples.rows, written, strict=True)]
        by_metric = {name: [one[name].fmeasure for one in found] for name in self.metrics}
        means = {name: sum(values) / len(values) for name, values in by_metric.items()}
        return Score(means, by_metric[self.metric])
