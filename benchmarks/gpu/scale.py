"""How large everything is: as it is measured on a GPU, and as it is rehearsed on a CPU."""

from dataclasses import dataclass

Size = tuple[int, int]
"""Tokens of a row, and rows."""


@dataclass(frozen=True)
class Scale:
    """Sizes of all stages.

    Attributes:
        device: Where: ``cuda`` or ``cpu``.
        main: The shape that most is measured on.
        other: Another shape of the same size, of another family.
        small: A small one.
        large: One that only just fits.
        grid: The batches of the training stage, the most important first.
        rank: Of the adapters.
        steps: Steps that count, after ``warm_up`` that do not.
        parity: The batch that contenders are held against one another on, and the steps of the overfit.
        overfit: See ``parity``.
        matrix: Size of the product that gives the machine's matrix rate.
        weight: Shape of the weight that kernels are timed on.
        weights: Shapes of the weights that they are checked on: a row, odd sizes, blocks that cross rows, a real one.
        memory: Of the 70B shape's run, and for the longest context.
        context: Where the search for the longest context begins: the published length that is to be beaten.
        generated: Tokens of the decoding stage, and before them the tokens of its prompt.
        prompt: See ``generated``.
    """

    device: str
    main: str
    other: str
    small: str
    large: str
    grid: tuple[Size, ...]
    rank: int
    steps: int
    warm_up: int
    parity: Size
    overfit: int
    matrix: int
    weight: tuple[int, int]
    weights: tuple[tuple[int, int], ...]
    large_memory: str
    context_memory: str
    context: int
    context_rank: int
    generated: int
    prompt: int


MEASURED = Scale(
    device="cuda",
    main="llama-3.1-8b",
    other="qwen3-8b",
    small="llama-3.2-1b",
    large="llama-3.1-70b",
    grid=((2048, 4), (2048, 1), (4096, 2), (2048, 8), (8192, 2), (4096, 4)),
    rank=16,
    steps=15,
    warm_up=5,
    parity=(512, 2),
    overfit=20,
    matrix=8192,
    weight=(14336, 4096),
    weights=((1, 64), (33, 17), (130, 300), (1024, 4096)),
    large_memory="44GB",
    context_memory="24GB",
    context=78475,
    context_rank=32,
    generated=128,
    prompt=128,
)

REHEARSED = Scale(
    device="cpu",
    main="tiny",
    other="tiny",
    small="tiny",
    large="tiny",
    grid=((16, 2),),
    rank=4,
    steps=2,
    warm_up=1,
    parity=(16, 2),
    overfit=3,
    matrix=64,
    weight=(128, 64),
    weights=((33, 17),),
    large_memory="4GB",
    context_memory="4GB",
    context=16,
    context_rank=4,
    generated=4,
    prompt=4,
)
