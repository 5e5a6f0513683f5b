import numpy as np
import pytest

from inarch_benchmarks.embedded.glyphs import INK, SIZE, Alphabet, Glyphs, draw


@pytest.fixture(scope="module")
def glyphs() -> Glyphs:
    return draw(Alphabet())


def test_the_alphabet_of_the_demo_is_pinned(glyphs: Glyphs) -> None:
    assert glyphs.sha256() == "ca4e88d941a9df5e5ddc13961bb9b0a2159e832094453533b0b93238d1afb63d"


def test_shapes_and_classes(glyphs: Glyphs) -> None:
    assert glyphs.images.shape == (10_000, SIZE, SIZE)
    assert glyphs.images.dtype == np.uint8
    assert np.bincount(glyphs.labels).tolist() == [50] * 200


def test_every_glyph_has_ink(glyphs: Glyphs) -> None:
    darkest = glyphs.images.max(axis=(1, 2))
    assert darkest.max() == INK
    assert darkest.min() > INK / 4


def test_edges_are_smooth(glyphs: Glyphs) -> None:
    assert set(np.unique(glyphs.images)) == set(range(INK + 1))


def test_copies_of_a_class_differ_less_than_classes(glyphs: Glyphs) -> None:
    images = glyphs.images.reshape(200, 50, -1) / INK
    within = images.var(axis=1).sum(axis=-1).mean()
    assert within < 0.8 * images.reshape(10_000, -1).var(axis=0).sum()


def test_another_seed_draws_other_signs() -> None:
    one, other = draw(Alphabet(3, 4, seed=0)), draw(Alphabet(3, 4, seed=1))
    assert one.sha256() != other.sha256()
    assert one.sha256() == draw(Alphabet(3, 4, seed=0)).sha256()
