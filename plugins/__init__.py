"""Inarch's own plugins: one file a method, brought in through the same entry points as a stranger's."""
