"""Training: data, tasks and the run on transformers' Trainer.

What stands here is for authors of tasks; a run begins with ``inarch.training.run.train``.
"""

from .config import DataConfig
from .pretrained import Pretrained, load_pretrained
from .table import Table
from .task import Example, Task

__all__ = ["DataConfig", "Example", "Pretrained", "Table", "Task", "load_pretrained"]
