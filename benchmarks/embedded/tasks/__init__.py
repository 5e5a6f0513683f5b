"""The tasks that need no network: handwritten digits, polarity, an unseen operation on sequences, real text."""
