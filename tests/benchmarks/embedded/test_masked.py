import torch

from inarch_benchmarks.embedded.masked import MaskedTexts
from inarch_benchmarks.embedded.vocabulary import Vocabulary

VOCABULARY = Vocabulary(["a", "b", "c", "."])
START, END, MASK = (VOCABULARY.numbers[mark] for mark in ("<s>", "</s>", "<mask>"))


def test_hidden_words_are_labels_and_the_others_are_seen() -> None:
    texts = MaskedTexts(["A b c.", "b"] * 50, VOCABULARY, length=6, share=0.5, copies=3)
    assert len(texts) == 300
    batch = texts.batch(range(300))
    hidden = batch["labels"] != -100
    assert torch.equal(batch["input_ids"] == MASK, hidden)
    whole = torch.where(hidden, batch["labels"], batch["input_ids"])
    a, b, c, stop = (VOCABULARY.numbers[word] for word in ("a", "b", "c", "."))
    assert whole[:2].tolist() == [[START, a, b, c, stop, END], [START, b, END, 0, 0, 0]]
    assert torch.equal(whole[:100], whole[100:200])
    assert not torch.equal(hidden[:100], hidden[100:200])
    assert torch.equal(batch["attention_mask"], (whole != 0).long())
    assert 0.44 < hidden.sum() / (whole > MASK).sum() < 0.56


def test_padding_is_cut_and_rows_are_found() -> None:
    texts = MaskedTexts(["a b c .", "b"], VOCABULARY, length=6, share=0.0, copies=2)
    assert texts.batch([3])["input_ids"].tolist() == [[START, VOCABULARY.numbers["b"], END]]
    assert texts.batch([0])["input_ids"].shape == (1, 6)
