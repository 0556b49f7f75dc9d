"""What is known of the artifact's peculiarities, and what our baseline makes of each.

Found by reading and running the public artifact of DiffServe (MLSys 2025).
"""

from __future__ import annotations

DEVIATIONS = (
    (
        "demand is 1.2 times the *queries in the system*, smoothed over 20 samples of a second",
        "kept",
        "a backlog is not a rate: with everything deferred it is about five times too high, so "
        "the plan swings between deferring everything and little. With counted arrivals and the "
        "rest unchanged the system gets worse, not better (see *published dispatch* on the page of "
        "ablations): the inflated demand is its headroom",
    ),
    (
        "queue delay is waiting queries divided by queries *in the stage*, not by a rate",
        "kept",
        "bounded by about a second whatever the true wait is: plans are feasible on paper and "
        "late in fact",
    ),
    (
        "random dispatch to one FIFO queue per worker; a query stays where it is",
        "kept",
        "some queues are long while other workers idle; most of the violations come from here",
    ),
    (
        "a query is dropped when it would end later than 1.5 times an SLO of 15 s, whatever the "
        "cascade",
        "kept, at 1.5 times the cascade's own SLO",
        "the 15 s are a constant of the client that was not adapted. The effect, measured above, "
        "is small",
    ),
    (
        "a deferred query that is dropped loses its light image, too",
        "kept",
        "an answer that existed becomes a violation",
    ),
    (
        "the objective is the largest threshold, without a tie-break; f(t) never changes",
        "kept; ties go to the smallest latency",
        "at low load everything is deferred, which by the authors' own table is worse than "
        "deferring 60 %. Plans with equal thresholds differ only in idle workers",
    ),
    (
        "roles are given out in the order of registration; a change is immediate and keeps the "
        "queue, which the new variant then runs",
        "kept; the time of a change is a parameter, 0 by default",
        "light queries wait behind heavy ones after a change, and the other way round",
    ),
    (
        "the latency of batches of 9 to 15 is taken to be that of 4",
        "kept in the drop rule, not in the machines",
        "it decides who is dropped; letting devices really be three times as fast would be an "
        "error of the machine, not of the system",
    ),
    (
        "answers later than twice the SLO count as dropped, and stay in the demand for ever",
        "left out",
        "demand grows without bound in a long run: a leak, not a policy",
    ),
    (
        "a query that reaches the heavy stage late is counted as a new one",
        "left out",
        "more outcomes than queries; here every query has exactly one",
    ),
    (
        "no feasible plan ends the controller's thread",
        "left out: all light, nothing deferred, as in the same group's later system",
        "the published system would never plan again",
    ),
    (
        "a tick that takes longer than a second ends the same thread",
        "left out",
        "virtual time has no slow ticks",
    ),
    (
        "the client sends relative to its previous send, and blocks on each call",
        "left out: every query arrives when the trace says",
        "the artifact's offered load falls behind the trace exactly when the system is slow, which "
        "spares it; this makes ours violate more",
    ),
    (
        "Clipper runs batches of one",
        "left out: largest batch within the SLO",
        "the paper's definition; the effect is measured above",
    ),
    (
        "plotted FID: heavy share divided by its own maximum, shifted by a constant per cascade, "
        "then a quadratic fit with errors of up to 0.55",
        "left out: the authors' table, linearly between its points",
        "figures that were normalised per system cannot be compared across systems; ours cannot be "
        "compared with the paper's plots to the second digit",
    ),
    (
        "Proteus and the ablations (no queue model, AIMD, static threshold) are not in the "
        "artifact",
        "Proteus re-implemented from a later port; the ablations left out",
        "there is nothing to compare with",
    ),
    (
        "f(t) refreshed online, and 1.05 for 1.2, in the paper's text",
        "as in the artifact",
        "the artifact is what produced figures; scores here follow the shipped f(t) exactly, so a "
        "refresh would change nothing",
    ),
)
"""Artifact, ours, effect."""
