import json

from inarch_benchmarks import optimizer


def test_the_matrices_are_those_of_lora_on_the_shape() -> None:
    """Rank 16 on 7 maps of 32 blocks: 448 matrices, 16 (in + out) elements a map."""
    assert len(optimizer.SHAPES) == 448
    each = 16 * sum(sum(pair) for pair in [(2048, 2048)] * 2 + [(2048, 512)] * 2 + [(2048, 8192)] * 3)
    assert sum(rows * columns for rows, columns in optimizer.SHAPES) == 32 * each


def test_the_committed_results_compare_many_with_one() -> None:
    document = json.loads(optimizer.RESULTS.read_text())
    assert (document["tensors"], document["results"].keys()) == (448, {"fused", "foreach"})
