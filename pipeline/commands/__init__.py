"""Commands in files of their own; the main steps and their order stand in `cli.py`."""
