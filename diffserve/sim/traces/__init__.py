"""Trace files: our own format and the public ones, each read into arrivals or a rate curve."""
