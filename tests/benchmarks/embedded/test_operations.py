import pytest
import torch

from inarch_benchmarks.embedded.dice import Dice
from inarch_benchmarks.embedded.models.sequence_gpt import SequenceGPT
from inarch_benchmarks.embedded.operations import (
    EQUALS,
    LETTERS,
    LONGEST,
    PADDING,
    PRETRAINED,
    SHORTEST,
    UNSEEN_NAME,
    VOCABULARY,
    Letters,
    Row,
    drawn_letters,
    examples,
    pretraining_rows,
    right_answers,
    sha256,
    unseen,
    unseen_rows,
)

ANSWERS = {
    "copy": "abcdt",
    "reverse": "tdcba",
    "left": "bcdta",
    "right": "tabcd",
    "ends": "tbcda",
    "following": "bcdea",
    "preceding": "tabcs",
    "mirror": "tsrqa",
}


def letters(text: str) -> Letters:
    return tuple(ord(letter) - ord("a") for letter in text)


@pytest.mark.parametrize("name", PRETRAINED)
def test_operations(name: str) -> None:
    assert PRETRAINED[name](letters("abcdt")) == letters(ANSWERS[name])


def test_the_unseen_operation_is_none_of_the_others() -> None:
    assert unseen(letters("abcdt")) == letters("aedcb")
    dice = Dice(3)
    for some in (drawn_letters(dice) for _ in range(200)):
        assert all(operation(some) != unseen(some) for operation in PRETRAINED.values())


def test_rows_are_the_same_everywhere() -> None:
    assert sha256(pretraining_rows(1000, 0)) == "3be0369acdd2f3d9d1a578394ff5007b0c2024ee6188c5172db294f8bc0a288e"
    assert sha256(unseen_rows(1000, 1)) == "d4d436095d2486194148badd551d2a59c84599ab01ca59c2f7193618e1fb0094"
    assert sha256(unseen_rows(1000, 2)) != sha256(unseen_rows(1000, 1))


def test_every_operation_and_length_is_pretrained() -> None:
    rows = pretraining_rows(2000, 0)
    assert {len(row.letters) for row in rows} == set(range(SHORTEST, LONGEST + 1))
    assert {row.name for row in rows} == set(range(PADDING + 1, UNSEEN_NAME))
    assert {letter for row in rows for letter in row.letters} == set(range(LETTERS))


def test_a_row_for_the_model() -> None:
    some = examples([Row(UNSEEN_NAME, (1, 2, 3, 4, 5), (6, 5, 4, 3, 2))])
    ids, labels = some.tensors["input_ids"][0].tolist(), some.tensors["labels"][0].tolist()
    assert ids == [UNSEEN_NAME, 1, 2, 3, 4, 5, EQUALS, 6, 5, 4, 3, 2] + [PADDING] * 6
    assert labels == [-100] * 7 + [6, 5, 4, 3, 2] + [-100] * 6
    assert max(ids) < VOCABULARY


def test_right_answers_are_those_of_greedy_decoding() -> None:
    torch.manual_seed(0)
    model = SequenceGPT().network().eval()
    dice = Dice(0)
    rows = [Row(UNSEEN_NAME, drawn_letters(dice), ()) for _ in range(60)]
    written = [greedy(model, row) for row in rows]
    wanted = [spoiled(dice, answer) if place % 2 else answer for place, answer in enumerate(written)]
    some = examples([Row(row.name, row.letters, answer) for row, answer in zip(rows, wanted, strict=True)])
    with torch.no_grad():
        logits = model(input_ids=some.tensors["input_ids"]).logits
    expected = [one == other for one, other in zip(written, wanted, strict=True)]
    assert right_answers(logits, some.tensors["labels"]).tolist() == expected
    assert expected == [True, False] * 30


def greedy(model: torch.nn.Module, row: Row) -> Letters:
    """As many tokens as there are letters, each the likeliest after those before it."""
    prompt = torch.tensor([[row.name, *row.letters, EQUALS]])
    count = len(row.letters)
    made = model.generate(prompt, attention_mask=torch.ones_like(prompt), do_sample=False, max_new_tokens=count)
    return tuple(made[0, prompt.shape[1] :].tolist())


def spoiled(dice: Dice, answer: Letters) -> Letters:
    place = dice.below(len(answer))
    return (*answer[:place], (answer[place] + 1) % VOCABULARY, *answer[place + 1 :])
