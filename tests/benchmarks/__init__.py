"""Benchmarks run, whatever they measure."""
