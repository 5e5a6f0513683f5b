"""A session: the runs of a suite, computed, kept and read again."""
