"""``diffserve cascade``: what can be asked for, and making more of it."""

from __future__ import annotations

from diffserve.catalog import catalog_path, load_catalog
from diffserve.cli.connection import CALL_TIMEOUT_S, admin
from diffserve.cli.output import duration, emit_json, joined, percent, stdout, table, to_document
from diffserve.errors import ConfigError
from diffserve.rpc.v1 import admin_pb2


def list_cascades(address: str, *, as_json: bool) -> None:
    """Print the cascades of the catalog, with latencies as the planner uses them now."""
    with admin(address) as stub:
        answer = stub.ListCascades(admin_pb2.ListCascadesRequest(), timeout=CALL_TIMEOUT_S)
    if as_json:
        emit_json(to_document(answer))
        return
    console = stdout()
    for cascade in answer.cascades:
        default = " (default)" if cascade.is_default else ""
        is_grouped = cascade.class_id not in ("", cascade.cascade_id)
        group = f", of class {cascade.class_id}" if is_grouped else ""
        console.print(
            f"{cascade.cascade_id}{group}{default}: answers within {duration(cascade.slo_s)}, "
            f"scored by {cascade.discriminator}{_cap(cascade)}",
        )
        rows = table("stage", "variant", ">steps", ">size", "seconds by batch size")
        for stage, variant in (("light", cascade.light), ("heavy", cascade.heavy)):
            rows.add_row(
                stage,
                variant.variant_id,
                str(variant.num_inference_steps),
                f"{variant.width}x{variant.height}",
                _execution(variant),
            )
        console.print(rows)
        console.print(f"{cascade.quality_metric} by share deferred: {_quality(cascade)}\n")


def activate(name: str, cascade_id: str, address: str, *, suffix: str = "", as_json: bool) -> None:
    """Have a deployment serve the cascades of a catalog too, one of them by default.

    Args:
        name: TOML file or shipped catalog.
        cascade_id: Cascade or class that becomes the default; empty: the file's own.
        address: Of the controller.
        suffix: Added to the names of the file's cascades; empty: none.
        as_json: Print the answer as JSON.

    Raises:
        ConfigError: the file is wrong; the controller looks whether it fits what runs.
    """
    path, catalog = catalog_path(name), load_catalog(name)
    if cascade_id not in {"", *catalog.cascades, *catalog.classes}:
        known = ", ".join(sorted({*catalog.cascades, *catalog.classes}))
        raise ConfigError(f"--cascade: {path} has no {cascade_id!r}; there is {known}")
    request = admin_pb2.ActivateCascadesRequest(
        catalog=path.read_text(encoding="utf-8"),
        name=path.name,
        cascade_id=cascade_id,
        suffix=suffix,
    )
    with admin(address) as stub:
        answer = stub.ActivateCascades(request, timeout=CALL_TIMEOUT_S)
    if as_json:
        emit_json(to_document(answer))
        return
    added = f"serves {joined(answer.added)} too; " if answer.added else ""
    when = "with the next plan"
    if answer.planning_paused:
        when = "when planning is resumed"
    elif answer.redis_gone:
        when = "when Redis answers, for which planning waits"
    stdout().print(
        f"{added}{answer.default_cascade} is the default cascade {when}; "
        "queries in progress end under the one they began with"
    )


def _cap(cascade: admin_pb2.CascadeInfo) -> str:
    is_capped = cascade.HasField("deferral_max") and cascade.deferral_max < 1.0
    return f", defers {percent(cascade.deferral_max)} at most" if is_capped else ""


def _execution(variant: admin_pb2.VariantInfo) -> str:
    batches = sorted(variant.execution_s)
    return "  ".join(f"{batch}: {variant.execution_s[batch]:.3g}" for batch in batches)


def _quality(cascade: admin_pb2.CascadeInfo) -> str:
    points = zip(cascade.fractions, cascade.qualities, strict=True)
    return ", ".join(f"{percent(fraction)}: {quality:.3g}" for fraction, quality in points)
