"""Measured tables: latency by batch size, deferral by confidence, quality by deferral."""
