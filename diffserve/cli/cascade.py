"""``diffserve cascade``: what can be asked for."""

from __future__ import annotations

from diffserve.cli.connection import CALL_TIMEOUT_S, admin
from diffserve.cli.output import duration, emit_json, percent, stdout, table, to_document
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
            f"scored by {cascade.discriminator}",
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


def _execution(variant: admin_pb2.VariantInfo) -> str:
    batches = sorted(variant.execution_s)
    return "  ".join(f"{batch}: {variant.execution_s[batch]:.3g}" for batch in batches)


def _quality(cascade: admin_pb2.CascadeInfo) -> str:
    points = zip(cascade.fractions, cascade.qualities, strict=True)
    return ", ".join(f"{percent(fraction)}: {quality:.3g}" for fraction, quality in points)
