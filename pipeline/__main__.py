"""`python -m pipeline`: the same as `iadsr`."""

from pipeline.cli import main

main()
