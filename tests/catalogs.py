"""Catalogs of sleeping variants: one that deployments run, others to activate there."""

from __future__ import annotations

_VARIANT = """
[variant.{name}]
base = "{name}"
pipeline = "mock"
num_inference_steps = {steps}
guidance_scale = 0.0
width = 64
height = 64
latency_s = {{ 1 = {one_s}, 2 = {two_s}, 4 = {four_s} }}
"""
TINY = _VARIANT.format(name="tiny", steps=1, one_s=0.02, two_s=0.03, four_s=0.05)
MID = _VARIANT.format(name="mid", steps=4, one_s=0.05, two_s=0.08, four_s=0.14)
BIG = _VARIANT.format(name="big", steps=20, one_s=0.10, two_s=0.16, four_s=0.28)
SCORER = """
[discriminator.scorer]
scorer = "mock"
"""


def cascade(name: str, light: str, heavy: str, slo_s: float, best: float = 0.9) -> str:
    """Return the tables of a cascade whose quality rises to ``best``."""
    return f"""
[cascade.{name}]
light = "{light}"
heavy = "{heavy}"
discriminator = "scorer"
slo_s = {slo_s}

[cascade.{name}.deferral]
thresholds = [0.0, 0.5, 1.0]
fractions = [0.0, 0.5, 1.0]

[cascade.{name}.quality]
metric = "made-up quality"
fractions = [0.0, 0.5, 1.0]
qualities = [0.5, 0.8, {best}]
"""


NEAR = cascade("near", "tiny", "mid", 2.0)
FAR = cascade("far", "mid", "big", 3.0)
RUNNING = f'default_cascade = "near"\n{TINY}{MID}{BIG}{SCORER}{NEAR}'
"""Three variants, of which the only cascade pairs the first two."""
FURTHER = f'default_cascade = "far"\n{MID}{BIG}{SCORER}{FAR}'
"""Another pairing, SLO and curve: the heavy variant of the former is the light one here."""
