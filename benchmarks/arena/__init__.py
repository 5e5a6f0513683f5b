"""Every architecture that transformers can build, at tiny size, against every method."""
