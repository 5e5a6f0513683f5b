"""Equal tuning: every method gets the same number of trials over its declared search space."""

from inarch_benchmarks.tuning.journal import open_journal
from inarch_benchmarks.tuning.search import Proposal, Search
from inarch_benchmarks.tuning.space import Space

__all__ = ["Proposal", "Search", "Space", "open_journal"]
