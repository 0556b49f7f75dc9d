"""DiffServe as published: does our re-implementation behave like it, and where does it differ?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from diffserve.experiments.comparison import bullets, summaries
from diffserve.experiments.deviations import DEVIATIONS
from diffserve.experiments.experiment import Context, Result, Table
from diffserve.experiments.loads import (
    AUTHORS_OVERLOAD,
    Load,
    authors,
    inputs,
    main_loads,
    own,
    simulation,
)
from diffserve.experiments.spread import Runs, repeat
from diffserve.experiments.sweep import labelled_table

NAME = "published_system"
TITLE = "DiffServe as published, and how faithful ours is"
PAPER = "diffserve-paper"
SYSTEMS = (
    PAPER,
    "diffserve-static",
    "proteus",
    "clipper-light",
    "clipper-heavy",
    "diffserve-paper-late-drop",
    "clipper-heavy-batch-1",
)

Systems = Mapping[str, Runs]


def run(context: Context) -> Result:
    """Compare the re-implementations with what the paper says of its systems."""
    heavier = [own(64.0), *authors(context, AUTHORS_OVERLOAD, "the authors' 3-40 qps trace")]
    loads = [*main_loads(context), *heavier]
    cases = {(load.title, system): simulation(load, system) for load in loads for system in SYSTEMS}
    runs = repeat(context, cases)
    by_load = {load.title: {s: runs[load.title, s] for s in SYSTEMS} for load in loads}
    return Result(
        name=NAME,
        title=TITLE,
        question="`diffserve-paper` and the other baselines are our re-implementations from the "
        "paper's text and its public artifact. Do they show the behaviour that was published, and "
        "where they do not, why?",
        answer=_answer(by_load[loads[0].title]) + bullets(_reasons(by_load)),
        inputs=inputs(
            loads,
            "The paper's authors': the claims in the second column are from the paper's abstract, "
            "or from a digest of its text where marked; figures of single bars in its plots are "
            "not known to us, so none is compared.",
        ),
        tables=[
            _claims_table(loads, by_load),
            labelled_table(
                "All runs behind it",
                ("load", "system"),
                {(load, s): r for load, systems in by_load.items() for s, r in systems.items()},
            ),
            Table(
                "Known deviations, one by one",
                ("in the artifact", "in our baseline", "what that does, and why"),
                DEVIATIONS,
                "Kept is what shapes the published results; left out is what merely crashes or "
                "loses data, so that the baseline neither wins nor loses by it.",
            ),
        ],
        figures=[],
        data={load: summaries(systems) for load, systems in by_load.items()},
    )


def _violations(systems: Systems, name: str) -> float:
    return systems[name].spread("slo_violation_ratio").median


def _fid(systems: Systems, name: str) -> float:
    return systems[name].spread("quality_overall").median


def _answer(systems: Systems) -> str:
    fid_gain = 1.0 - _fid(systems, PAPER) / _fid(systems, "clipper-light")
    return (
        "In kind, yes: "
        f"{systems[PAPER].spread('slo_violation_ratio').percent()} % violations, that is a few per "
        "cent; Clipper-Light and Clipper-Heavy at the extremes, one with no violation and the "
        "worst FID, the other with the most violations; DiffServe ahead of Proteus and of its "
        f"static version in FID; and a FID {100 * fid_gain:.0f} % better than all-light, where the "
        "paper's abstract says up to 24 %. Where figures differ, or cannot be checked, this is "
        "why:"
    )


def _reasons(by_load: Mapping[str, Systems]) -> Sequence[str]:
    main = next(iter(by_load.values()))
    heavy = by_load[own(64.0).title]
    fewer = 1.0 - _violations(heavy, PAPER) / _violations(heavy, "diffserve-static")
    ratio = _violations(main, "clipper-heavy") / _violations(main, PAPER)
    batch_1 = _violations(main, "clipper-heavy-batch-1") / _violations(main, PAPER)
    late = main["diffserve-paper-late-drop"].spread("slo_violation_ratio").percent()
    return (
        "**Fewer violations than static provisioning** holds only when load exceeds what the "
        "static settings were made for. The settings in the artifact (4 light workers with batches "
        "of 16, 12 heavy with batches of 4, threshold 0.02) carry about 50 qps; the main trace "
        "peaks at 32, so the static system idles half its devices, is never short, and has fewer "
        "violations than the adaptive one, which spends all spare capacity on heavy images "
        f"({100 * _violations(main, 'diffserve-static'):.1f} % against "
        f"{100 * _violations(main, PAPER):.1f} %). It pays in FID. At a peak of 64 qps the sign "
        f"turns: {100 * fewer:.0f} % fewer violations than static, inside the paper's 19-70 %. On "
        "which static settings the paper measured is not known to us.",
        f"**Violations against Clipper-Heavy** are {ratio:.1f} times fewer here, up to 52 times in "
        "the paper (digest). The artifact runs Clipper with batches of one, which nearly halves "
        "its capacity; ours takes the largest batch within the SLO, as the paper's text defines "
        f"it. With batches of one the factor is {batch_1:.1f}. It cannot come near 52 on this "
        f"trace: even if every query of Clipper-Heavy violated its SLO, the "
        f"{100 * _violations(main, PAPER):.1f} % of our DiffServe would make it "
        f"{1 / _violations(main, PAPER):.0f}. So the paper's own system must violate less in its "
        "testbed than in our simulation; a candidate is the artifact's table of execution times, "
        "in which batches of 9 to 15 take as long as a batch of 4 (12 heavy images in 3.7 s "
        "instead of 9.8 s), which we do not copy into the machines.",
        f"**Proteus** has {100 * _violations(main, 'proteus'):.0f} % violations here, and nothing "
        "to check that with: it is absent from the artifact, and its bars in the paper are not "
        "known to us. Ours follows a later port by the same group (demand times 1.25, half the SLO "
        "for a batch), with the published random dispatch. It sends a share to the heavy workers "
        "that fills them completely, and random queues at full load violate. Its FID is the "
        "straight line between all-light and all-heavy, because it does not look at images; a real "
        "mixture would be somewhat better than the line, so that the gain over it is if anything "
        "smaller than shown.",
        "**The drop rule** of the artifact is at 22.5 s for every cascade, because its client "
        "takes the SLO to be 15 s; we drop at 1.5 times the cascade's own SLO. That hardly "
        f"matters: with 22.5 s `diffserve-paper` has {late} % violations.",
        "**DiffServe-Static of cascade 3** violates most of its queries on the main trace, on the "
        "[page of the other cascades](other_cascades.md): the settings in the artifact (9 light "
        "workers with batches of 4, 7 heavy with batches of 2, threshold 0.02) carry about 11 qps. "
        "They were not made for this load; we know no others.",
    )


def _claims_table(loads: Sequence[Load], by_load: Mapping[str, Systems]) -> Table:
    rows = (
        ("a few per cent of queries violate their SLO", "paper's plots (digest)", _own_violations),
        ("FID up to 24 % better than all-light", "abstract; against what, by digest", _gain_light),
        ("FID up to 20 % better than Proteus", "digest", _gain_proteus),
        ("19-70 % fewer violations than static provisioning", "abstract", _fewer_static),
        ("up to 52 times fewer violations than Clipper-Heavy", "digest", _times_heavy),
    )
    return Table(
        "Claims and what we find",
        ("claim", "where it stands", *(load.title for load in loads)),
        [
            (claim, source, *(figure(by_load[load.title]) for load in loads))
            for claim, source, figure in rows
        ],
        "FID: overall, by the authors' table at the heavy share of all answers. Negative: the "
        "other way round. Medians over the seeds.",
    )


def _own_violations(systems: Systems) -> str:
    return f"{100 * _violations(systems, PAPER):.1f} %"


def _gain_light(systems: Systems) -> str:
    return f"{100 * (1 - _fid(systems, PAPER) / _fid(systems, 'clipper-light')):.0f} %"


def _gain_proteus(systems: Systems) -> str:
    return f"{100 * (1 - _fid(systems, PAPER) / _fid(systems, 'proteus')):.0f} %"


def _fewer_static(systems: Systems) -> str:
    static = _violations(systems, "diffserve-static")
    return f"{100 * (1 - _violations(systems, PAPER) / static):.0f} %" if static else "-"


def _times_heavy(systems: Systems) -> str:
    published = _violations(systems, PAPER)
    return f"{_violations(systems, 'clipper-heavy') / published:.1f} times" if published else "-"
