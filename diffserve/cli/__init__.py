"""The `diffserve` command line."""
