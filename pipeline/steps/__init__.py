"""The steps of the pipeline. Each reads the lake, works, writes the lake, and records its run."""
