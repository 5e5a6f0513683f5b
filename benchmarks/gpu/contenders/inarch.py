"""Inarch: LoRA on its own four-bit maps, with the engine in several ways."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

from torch import Tensor, nn

import inarch
from inarch.engine.activations import keep_attention, keep_input
from inarch.engine.checkpoint_hook import Before, checkpoint_by, checkpointed_blocks, restore
from inarch.engine.checkpoint_plan import CheckpointPlan
from inarch.engine.chunked_loss import ChunkedLoss
from inarch.engine.feature import Feature
from inarch.engine.fused_products import FusedProducts
from inarch.engine.liger import Liger

from ..build import as_inarch, build
from .contender import Contender, Task


class EveryBlock(Feature):
    """Every block keeps the same, whatever the memory: so that others who do so can be compared with."""

    name = "every block checkpointed"

    def __init__(self, keep: Callable[..., Any] = keep_input) -> None:
        self._keep = keep
        self._before: dict[str, Before] = {}

    def start(self, model: nn.Module, batch: Mapping[str, Any]) -> str:
        """Checkpoint the blocks."""
        for name, block in checkpointed_blocks(model).items():
            self._before[name] = checkpoint_by(block, self._keep)
        return f"{len(self._before)} blocks"

    def stop(self, model: nn.Module) -> None:
        """Give the blocks their own checkpointing back."""
        for name, before in self._before.items():
            restore(model.get_submodule(name), before)
        self._before.clear()


def without_plan() -> list[Feature]:
    """The features that decide nothing about memory."""
    return [FusedProducts(), ChunkedLoss(), Liger()]


class Inarch(Contender):
    """``inarch.attach`` and ``inarch.engine`` in a plain loop."""

    name = "Inarch"
    base: ClassVar[str] = "nf4"

    def adapted(self, task: Task) -> nn.Module:
        """The model with LoRA attached."""
        model = build(task.shape, self.base, as_inarch, task.device)
        inarch.attach(model, "lora", rank=task.rank, alpha=task.rank)
        self.engine: inarch.Engine | None = None
        return model.train()  # type: ignore[no-any-return]

    def features(self) -> Sequence[Feature]:
        """What the engine tries."""
        raise NotImplementedError

    def start(self, batch: Mapping[str, Tensor]) -> str:
        """Start the engine; its report."""
        self.model.config.use_cache = False
        self.engine = inarch.engine(self.model, batch, features=self.features())
        return self.engine.report()

    def stop(self) -> None:
        """Stop it."""
        if self.engine is not None:
            self.engine.stop()
        self.engine = None

    def site(self, parameter: str) -> tuple[str, str] | None:
        """As Inarch names them."""
        site, found, matrix = parameter.partition(".inarch.")
        return (site, matrix[-1]) if found else None


class FullCheckpointing(Inarch):
    """Every block checkpointed: computes what peft with gradient checkpointing computes."""

    name = "Inarch, same checkpointing"

    def features(self) -> Sequence[Feature]:
        """All, every block keeping its input."""
        return [*without_plan(), EveryBlock()]


class AttentionKept(Inarch):
    """Every block checkpointed but for its attention."""

    name = "Inarch, attention kept"
    checkpointed = False

    def features(self) -> Sequence[Feature]:
        """All, every block keeping what its attention gives."""
        return [*without_plan(), EveryBlock(keep_attention)]


class AtMemory(Inarch):
    """As fast as it is within an amount of memory: that which Unsloth took, where a grid says no other."""

    name = "Inarch, at Unsloth's memory"
    checkpointed = False

    def features(self) -> Sequence[Feature]:
        """All, with a plan for ``settings["memory"]``."""
        return [*without_plan(), CheckpointPlan(self.settings["memory"])]


class MemoryToSpare(Inarch):
    """As fast as it is within nine tenths of the device."""

    name = "Inarch, memory to spare"
    checkpointed = False

    def features(self) -> Sequence[Feature]:
        """All, with a plan for the device."""
        return [*without_plan(), CheckpointPlan("90%")]


class InBfloat16(MemoryToSpare):
    """On a base in bfloat16, as the figures of other projects for LoRA are."""

    name = "Inarch, bf16 base"
    base = "bf16"


class Plain(Inarch):
    """Without the engine, every block checkpointed by transformers: what the engine is worth."""

    name = "Inarch, no engine"

    def start(self, batch: Mapping[str, Tensor]) -> str:
        """Let transformers checkpoint the blocks."""
        self.model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        return ""

    def stop(self) -> None:
        """Let it leave that."""
        self.model.gradient_checkpointing_disable()
