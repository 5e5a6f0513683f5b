"""The engine: the same results, computed faster and in less memory, on any architecture.

running.py          starts features one after the other, each held against the model without it by probe.py
feature.py          one way of doing so; every other file here is one, or a part of one
"""

from .feature import Declined, Feature
from .running import Engine, Outcome, engine

__all__ = ["Declined", "Engine", "Feature", "Outcome", "engine"]
