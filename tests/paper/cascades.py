"""The paper's three cascades as planning problems."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

from diffserve.planning.problem import CascadeProblem, Objective
from diffserve.profiles.curves import DeferralProfile, QualityCurve
from diffserve.profiles.latency import LatencyProfile


@functools.cache
def paper_cascade(cascade_id: str) -> dict[str, Any]:
    """Return SLO and profiles of ``cascade_1`` .. ``cascade_3``, as problem fields."""
    path = Path(__file__).parent / "data" / "paper_cascades.json"
    facts = json.loads(path.read_text())["cascades"][cascade_id]
    fractions = tuple(facts["deferral_fractions"])
    return {
        "slo_s": facts["slo_s"],
        "light": LatencyProfile({int(b): s for b, s in facts["light_latency_s"].items()}),
        "heavy": LatencyProfile({int(b): s for b, s in facts["heavy_latency_s"].items()}),
        "deferral": DeferralProfile(tuple(i / 200 for i in range(201)), fractions),
        "quality": QualityCurve(
            tuple(i / 10 for i in range(11)), tuple(-fid for fid in facts["fid"]), "-FID"
        ),
    }


def paper_problem(cascade_id: str = "cascade_1", **changes: Any) -> CascadeProblem:
    """Return the problem of 16 workers at 16 qps, as published, with ``changes``."""
    fields: dict[str, Any] = {
        "num_workers": 16,
        "demand_qps": 16.0,
        "objective": Objective.THRESHOLD,
        "utilisation_max": 1.0,
    }
    return CascadeProblem(**(fields | paper_cascade(cascade_id) | changes))
