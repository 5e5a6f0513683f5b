"""The commands of ``inarch bench``, one a file."""
