import hashlib
import re

import pytest

from inarch_benchmarks.embedded.dice import Dice
from inarch_benchmarks.embedded.story import (
    BLAME,
    GLAD,
    PRAISE,
    SAD,
    SLICES,
    STORY_VOCABULARY,
    Speaker,
    opinions,
    stories,
)


def mood_of(remark: str) -> bool:
    """Whether a remark is a glad one, read word by word."""
    *before, adjective = remark.split()
    return (adjective in PRAISE) != ("not" in before)


def mood(text: str) -> bool:
    """What the speaker thinks, from the grammar of contrast."""
    if text.startswith("although "):
        other, own = text.removeprefix("although ").split(" , ")
    elif " but " in text:
        other, own = text.split(" but ")
    elif " although " in text:
        own, other = text.split(" although ")
    else:
        one, two = text.split(" and ")
        assert mood_of(one) == mood_of(two)
        return mood_of(one)
    assert mood_of(own) != mood_of(other)
    return mood_of(own)


def test_the_words_are_distinct() -> None:
    words = STORY_VOCABULARY.words
    assert len(set(words)) == len(words)
    assert len(PRAISE) == len(BLAME) == 32


@pytest.mark.parametrize("kind", SLICES)
def test_an_opinion_means_what_it_says(kind: str) -> None:
    speaker = Speaker(Dice(1))
    said = [speaker.opinion(kind) for _ in range(300)]
    assert all(opinion.glad == mood(opinion.text) for opinion in said)
    assert 110 < sum(opinion.glad for opinion in said) < 190
    assert all(("not" in opinion.text.split()) == (kind in ("negation", "both")) for opinion in said)
    assert all(bool(re.search("but|although", opinion.text)) == (kind in ("contrast", "both")) for opinion in said)


def test_a_story_ends_as_the_speaker_felt() -> None:
    lists = 0
    for story in stories(400, seed=5):
        text, end = story.split(" . so we ")
        assert end in GLAD + SAD
        praised = re.fullmatch(r"the \w+ was (\w+) , (\w+) and (\w+)", text)
        lists += praised is not None
        if praised:
            assert {adjective in PRAISE for adjective in praised.groups()} == {end in GLAD}
        else:
            assert mood(text) == (end in GLAD)
    assert 150 < lists < 250


def test_no_two_opinions_are_alike() -> None:
    some = opinions(Speaker(Dice(0), PRAISE[:2], BLAME[:2]), 400)
    more = opinions(Speaker(Dice(0), PRAISE[:2], BLAME[:2]), 400, without=some)
    assert len({opinion.text for opinion in some + more}) == 800
    assert [opinion.slice for opinion in more[:8]] == [*SLICES, *SLICES]


def test_the_vocabulary_knows_every_word() -> None:
    encoded = STORY_VOCABULARY.tokenizer(stories(200, seed=2))["input_ids"]
    assert STORY_VOCABULARY.numbers["<unk>"] not in {number for numbers in encoded for number in numbers}


def test_stories_are_the_same_everywhere() -> None:
    assert (
        hashlib.sha256("\n".join(stories(1000, seed=0)).encode()).hexdigest()
        == "a51e54b6978fa8ff4dde81bcb43165f3be8393c084ebf69f4cf214323ff266d3"
    )
