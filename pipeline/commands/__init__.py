"""Groups of the command line beyond its steps, a small file each; `cli.py` registers them."""
