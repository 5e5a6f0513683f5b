"""Tasks of published comparisons: data and models of the Hugging Face hub, ready to run where it can be reached."""
