"""What several benchmarks share: the baseline, the load, and how rounds are summed up."""
