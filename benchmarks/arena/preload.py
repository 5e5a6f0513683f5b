"""What every process of the arena needs, imported once: the server that they are forked from imports this module."""

import gc
import os
import warnings

os.environ["HF_HUB_OFFLINE"] = "1"
warnings.simplefilter("ignore")

import torch  # noqa: E402 - after the environment it reads
import transformers  # noqa: E402
import transformers.models.auto.modeling_auto  # noqa: E402

import inarch  # noqa: E402
from inarch_benchmarks.arena import arena, batch, catalogue, cell, tiny  # noqa: E402, F401 - for the processes

torch.set_num_threads(1)
transformers.utils.logging.set_verbosity_error()
inarch.methods()
gc.freeze()  # no collection in a process looks through what it shares
