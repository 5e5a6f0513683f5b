"""Who trains: peft with bitsandbytes, the same with Liger's kernels, Unsloth, and Inarch in several ways."""

from .contender import Contender, Task, Unavailable
from .inarch import AtMemory, AttentionKept, FullCheckpointing, Inarch, InBfloat16, MemoryToSpare, Plain
from .peft import Peft, PeftWithLiger
from .unsloth import Unsloth

CONTENDERS: dict[str, type[Contender]] = {
    contender.name: contender
    for contender in (
        Peft,
        PeftWithLiger,
        Unsloth,
        FullCheckpointing,
        AtMemory,
        MemoryToSpare,
        AttentionKept,
        Plain,
        InBfloat16,
    )
}
"""By name, in the order in which they run: those that others are compared with first."""

__all__ = ["CONTENDERS", "Contender", "Inarch", "Task", "Unavailable"]
