"""A small language, in which things are praised or blamed, and what follows from it.

A remark says of a thing what it was: ``the soup was tasty``. Its mood is glad or sad. Words of two kinds turn moods:
``not`` turns that of an adjective; ``but`` and ``although`` join remarks of opposite moods, of which the one after
``but``, and the one without ``although``, is the speaker's. A story ends with what the speaker did.

Which adjectives praise and which blame is nowhere said: it shows in their company.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from inarch_benchmarks.embedded.dice import Dice
from inarch_benchmarks.embedded.vocabulary import Vocabulary


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


THINGS = _words(
    "soup bread tea cake room bed garden song film book play train boat street market shop hotel beach teacher waiter "
    "driver guide doctor singer"
)
PRAISE = _words(
    "good tasty warm kind clean bright calm pretty clever honest gentle fresh lovely fine great smooth lively cosy "
    "brave graceful splendid pleasant charming elegant patient generous merry superb friendly wise tidy sweet"
)
BLAME = _words(
    "bad stale cold rude dirty gloomy noisy ugly stupid false rough rotten awful poor dreadful bumpy dull shabby "
    "cruel clumsy terrible nasty boring crude hasty greedy bitter horrid hostile foolish messy sour"
)
GLAD, SAD = ("smiled", "stayed"), ("sighed", "left")

STORY_VOCABULARY = Vocabulary(
    ("the", "was", "very", "not", "and", "but", "although", "so", "we", ",", ".", *THINGS, *PRAISE, *BLAME, *GLAD, *SAD)
)

Slice = Literal["plain", "negation", "contrast", "both"]
SLICES: tuple[Slice, ...] = ("plain", "negation", "contrast", "both")


@dataclass(frozen=True)
class Opinion:
    """Two remarks, and the mood that the speaker was left in.

    Attributes:
        text: The remarks.
        glad: The mood.
        slice: Which words that turn moods it has: none, ``not``, a contrast, or both.
    """

    text: str
    glad: bool
    slice: Slice


class Speaker:
    """Says things by chance.

    Args:
        dice: The chance.
        praise: The adjectives it praises with.
        blame: Those it blames with.
    """

    def __init__(self, dice: Dice, praise: Sequence[str] = PRAISE, blame: Sequence[str] = BLAME) -> None:
        self._dice = dice
        self._praise = praise
        self._blame = blame

    def opinion(self, kind: Slice) -> Opinion:
        """An opinion of one slice."""
        glad = self._dice.chance(0.5)
        turned = self._dice.one_of(((True, True), (True, False), (False, True)))  # where there is a not at all
        first, second = turned if kind in ("negation", "both") else (False, False)
        if kind in ("plain", "negation"):
            return Opinion(f"{self._remark(glad, first)} and {self._remark(glad, second)}", glad, kind)
        own, other = self._remark(glad, first), self._remark(not glad, second)
        text = self._dice.one_of((f"{other} but {own}", f"although {other} , {own}", f"{own} although {other}"))
        return Opinion(text, glad, kind)

    def story(self) -> str:
        """An opinion of any slice or, as often, a thing with three adjectives; and what the speaker did."""
        if self._dice.chance(0.5):
            said = self.opinion(self._dice.one_of(SLICES))
            return self._ended(said.text, said.glad)
        glad = self._dice.chance(0.5)
        one, two, three = (self._adjective(glad) for _ in range(3))
        return self._ended(f"the {self._dice.one_of(THINGS)} was {one} , {two} and {three}", glad)

    def _ended(self, text: str, glad: bool) -> str:
        return f"{text} . so we {self._dice.one_of(GLAD if glad else SAD)}"

    def _remark(self, glad: bool, turned: bool) -> str:
        """``the thing was (very) adjective``, or with a ``not`` and the opposite adjective where it is turned."""
        emphasis = "not " if turned else "very " if self._dice.chance(0.3) else ""
        return f"the {self._dice.one_of(THINGS)} was {emphasis}{self._adjective(glad != turned)}"

    def _adjective(self, praising: bool) -> str:
        return self._dice.one_of(self._praise if praising else self._blame)


def stories(count: int, seed: int) -> list[str]:
    """Stories by chance."""
    speaker = Speaker(Dice(seed))
    return [speaker.story() for _ in range(count)]


def opinions(speaker: Speaker, count: int, without: Sequence[Opinion] = ()) -> list[Opinion]:
    """Opinions by chance, slice after slice in turn, no two alike.

    Args:
        speaker: Who says them.
        count: How many.
        without: Those that must not be among them.
    """
    taken = {opinion.text for opinion in without}
    found: list[Opinion] = []
    while len(found) < count:
        opinion = speaker.opinion(SLICES[len(found) % len(SLICES)])
        if opinion.text not in taken:
            taken.add(opinion.text)
            found.append(opinion)
    return found
