"""Reading and writing the lake: Delta tables, plain files beside them, runs, the catalogue."""
