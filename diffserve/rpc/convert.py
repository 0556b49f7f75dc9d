"""Protobuf messages <-> core values: the only translator."""

from __future__ import annotations

from diffserve.core import CascadePlan, Outcome, Plan, Preference, Priority, WorkerInfo
from diffserve.rpc.v1 import common_pb2, controller_pb2, generation_pb2

_PREFERENCES = {
    common_pb2.PREFERENCE_UNSPECIFIED: Preference.AUTO,
    common_pb2.PREFERENCE_AUTO: Preference.AUTO,
    common_pb2.PREFERENCE_LIGHT: Preference.LIGHT,
    common_pb2.PREFERENCE_HEAVY: Preference.HEAVY,
}
_PRIORITIES: dict[int, Priority] = {
    generation_pb2.PRIORITY_LOW: Priority.LOW,
    generation_pb2.PRIORITY_NORMAL: Priority.NORMAL,
    generation_pb2.PRIORITY_HIGH: Priority.HIGH,
}
_OUTCOMES = {
    Outcome.LIGHT: common_pb2.OUTCOME_LIGHT,
    Outcome.HEAVY: common_pb2.OUTCOME_HEAVY,
    Outcome.LIGHT_FALLBACK: common_pb2.OUTCOME_LIGHT_FALLBACK,
    Outcome.REJECTED: common_pb2.OUTCOME_REJECTED,
    Outcome.EXPIRED: common_pb2.OUTCOME_EXPIRED,
    Outcome.CANCELLED: common_pb2.OUTCOME_CANCELLED,
    Outcome.FAILED: common_pb2.OUTCOME_FAILED,
}
_OUTCOMES_BACK = {number: outcome for outcome, number in _OUTCOMES.items()}


def preference_from_proto(value: common_pb2.Preference.ValueType) -> Preference | None:
    """Return the preference, or None for a number that this version does not know."""
    return _PREFERENCES.get(value)


def priority_from_proto(value: int) -> Priority | None:
    """Return a priority, NORMAL for an absent one; None for a number this version does not know."""
    if value == generation_pb2.PRIORITY_UNSPECIFIED:
        return Priority.NORMAL
    return _PRIORITIES.get(value)


def outcome_to_proto(outcome: Outcome) -> common_pb2.Outcome.ValueType:
    """Return the protobuf number of an outcome."""
    return _OUTCOMES[outcome]


def outcome_from_proto(value: common_pb2.Outcome.ValueType) -> Outcome | None:
    """Return the outcome; None for OUTCOME_UNSPECIFIED."""
    return _OUTCOMES_BACK.get(value)


def plan_to_proto(plan: Plan, age_s: float = 0.0) -> controller_pb2.Plan:
    """Return a plan as a message, rows sorted by id."""
    message = controller_pb2.Plan(
        plan_id=plan.plan_id,
        solver=plan.solver,
        status=plan.status,
        solve_s=plan.solve_s,
        reason=plan.reason,
        age_s=age_s,
        activation=plan.activation,
    )
    for worker_id in sorted(plan.placement):
        worker = plan.workers[worker_id]
        message.placements.add(
            worker_id=worker_id,
            variant_id=plan.placement[worker_id],
            address=worker.address,
            device=worker.device,
            resident=worker.resident,
            draining=worker.is_draining,
            coresident=plan.coresident.get(worker_id, ()),
            device_type=worker.device_type,
            loadbalancer_id=plan.owners.get(worker_id, ""),
        )
    for loadbalancer_id in sorted(plan.shares):
        share = plan.shares[loadbalancer_id]
        message.loadbalancers.add(loadbalancer_id=loadbalancer_id, share=share)
    for variant_id in sorted(plan.batch_size_max):
        message.variants.add(
            variant_id=variant_id,
            batch_size_max=plan.batch_size_max[variant_id],
            price=plan.prices.get(variant_id, 0.0),
        )
    for cascade_id in sorted(plan.cascades):
        cascade = plan.cascades[cascade_id]
        message.cascades.add(
            cascade_id=cascade_id,
            demand_qps=cascade.demand_qps,
            deferral_fraction=cascade.deferral_fraction,
            deferral_target=cascade.deferral_target,
            confidence_threshold=cascade.confidence_threshold,
            expected_quality=cascade.expected_quality,
            class_share=cascade.class_share,
            bypass_fraction=cascade.bypass_fraction,
            slo_s=cascade.slo_s,
            pinned=cascade.is_pinned,
        )
    return message


def plan_from_proto(message: controller_pb2.Plan) -> Plan:
    """Return a message as a plan."""
    return Plan(
        plan_id=message.plan_id,
        placement={row.worker_id: row.variant_id for row in message.placements},
        batch_size_max={row.variant_id: row.batch_size_max for row in message.variants},
        cascades={
            row.cascade_id: CascadePlan(
                cascade_id=row.cascade_id,
                demand_qps=row.demand_qps,
                deferral_fraction=row.deferral_fraction,
                deferral_target=row.deferral_target,
                confidence_threshold=row.confidence_threshold,
                expected_quality=row.expected_quality,
                class_share=row.class_share,
                bypass_fraction=row.bypass_fraction,
                slo_s=row.slo_s,
                is_pinned=row.pinned,
            )
            for row in message.cascades
        },
        coresident={
            row.worker_id: tuple(row.coresident) for row in message.placements if row.coresident
        },
        prices={row.variant_id: row.price for row in message.variants if row.price},
        workers={
            row.worker_id: WorkerInfo(
                worker_id=row.worker_id,
                address=row.address,
                device=row.device,
                resident=tuple(row.resident),
                is_draining=row.draining,
                device_type=row.device_type,
            )
            for row in message.placements
        },
        owners={r.worker_id: r.loadbalancer_id for r in message.placements if r.loadbalancer_id},
        shares={row.loadbalancer_id: row.share for row in message.loadbalancers},
        solver=message.solver,
        status=message.status,
        solve_s=message.solve_s,
        reason=message.reason,
        activation=message.activation,
    )
