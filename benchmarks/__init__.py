"""Measurements of the running system against others; not part of the wheel."""
