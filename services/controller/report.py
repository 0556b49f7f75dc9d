"""Builds the Admin service's messages from the controller's state."""

from __future__ import annotations

from collections import Counter

import diffserve
from diffserve.catalog import class_of
from diffserve.rpc import convert
from diffserve.rpc.v1 import admin_pb2
from services.controller.history import Decision
from services.controller.latencies import common_device
from services.controller.membership import Member
from services.controller.state import ControllerState


def status(state: ControllerState) -> admin_pb2.Status:
    """Return the whole deployment; figures of load balancers as of the last reading."""
    return admin_pb2.Status(
        version=diffserve.__version__,
        solver=state.solver.name,
        plan=state.board.message(),
        workers=workers(state),
        cascades=[
            _cascade_status(state, cascade_id) for cascade_id in sorted(state.catalog.cascades)
        ],
        redis_connected=state.observer.is_connected,
        telemetry_age_s=state.observer.age_s,
        planning_paused=state.is_paused,
        planning_period_s=state.settings.planning_period_s,
        uptime_s=state.clock() - state.started_s,
        loadbalancers=[
            admin_pb2.LoadBalancerStatus(
                loadbalancer_id=report.loadbalancer_id,
                report_age_s=state.observer.balancers.age_s(report.loadbalancer_id),
                plan_id=report.plan_id,
            )
            for report in state.observer.reports
        ],
    )


def workers(state: ControllerState) -> list[admin_pb2.WorkerStatus]:
    """Return the registered workers, by id."""
    return [worker(state, member) for member in state.membership.members()]


def worker(state: ControllerState, member: Member) -> admin_pb2.WorkerStatus:
    """Return one registered worker."""
    plan = state.board.in_force
    info = member.worker
    return admin_pb2.WorkerStatus(
        worker_id=info.worker_id,
        address=info.address,
        device=info.device,
        resident=info.resident,
        assigned=plan.placement.get(info.worker_id, "") if plan else "",
        draining=info.is_draining,
        lease_age_s=state.membership.age_s(member),
        incarnation=member.incarnation,
        problem=member.problem,
        coresident=plan.coresident.get(info.worker_id, ()) if plan else (),
    )


def plans(state: ControllerState, limit: int) -> admin_pb2.ListPlansResponse:
    """Return the newest decisions, newest first; limit 0: all that are remembered."""
    now_s = state.clock()
    return admin_pb2.ListPlansResponse(
        plans=[_summary(decision, now_s) for decision in state.history.newest(limit)]
    )


def _summary(decision: Decision, now_s: float) -> admin_pb2.PlanSummary:
    last = convert.plan_to_proto(decision.last)
    ended_s = now_s if decision.ended_s is None else decision.ended_s
    return admin_pb2.PlanSummary(
        plan_id=decision.first.plan_id,
        last_plan_id=last.plan_id,
        age_s=now_s - decision.made_s,
        held_s=ended_s - decision.made_s,
        reason=last.reason,
        solver=last.solver,
        status=last.status,
        solve_s=last.solve_s,
        cascades=last.cascades,
        workers=Counter(decision.last.placement.values()),
    )


def cascades(state: ControllerState) -> list[admin_pb2.CascadeInfo]:
    """Return the catalog's cascades, by id."""
    catalog = state.catalog
    return [
        admin_pb2.CascadeInfo(
            cascade_id=cascade_id,
            is_default=catalog.default_cascade in (cascade_id, _class_id(state, cascade_id)),
            class_id=_class_id(state, cascade_id),
            light=_variant(state, catalog.cascades[cascade_id].light),
            heavy=_variant(state, catalog.cascades[cascade_id].heavy),
            discriminator=catalog.cascades[cascade_id].discriminator,
            slo_s=state.overrides.cascade(catalog.cascades[cascade_id]).slo_s,
            quality_metric=catalog.quality[cascade_id].metric,
            fractions=catalog.quality[cascade_id].fractions,
            qualities=catalog.quality[cascade_id].qualities,
            deferral_max=catalog.cascades[cascade_id].deferral_max,
        )
        for cascade_id in sorted(state.catalog.cascades)
    ]


def _class_id(state: ControllerState, cascade_id: str) -> str:
    return class_of(cascade_id, state.catalog.classes)


def _variant(state: ControllerState, variant_id: str) -> admin_pb2.VariantInfo:
    variant = state.catalog.variants[variant_id]
    device = common_device(state.membership.workers())
    return admin_pb2.VariantInfo(
        variant_id=variant_id,
        num_inference_steps=variant.num_inference_steps,
        width=variant.width,
        height=variant.height,
        execution_s=state.latencies.profile(variant_id, device).seconds_by_batch,
    )


def _cascade_status(state: ControllerState, cascade_id: str) -> admin_pb2.CascadeStatus:
    catalogued = state.catalog.cascades[cascade_id]
    cascade = state.overrides.cascade(catalogued)
    observer = state.observer
    rows = [r.cascades[cascade_id] for r in observer.reports if cascade_id in r.cascades]
    outcomes: Counter[str] = Counter()
    for row in rows:
        outcomes.update(row.outcomes)
    queues = {variant_id: queue.length for variant_id, queue in observer.queues().items()}
    return admin_pb2.CascadeStatus(
        cascade_id=cascade_id,
        light=cascade.light,
        heavy=cascade.heavy,
        slo_s=cascade.slo_s,
        arrival_qps=observer.arrival_qps(cascade_id),
        light_queue_length=queues.get(cascade.light, 0),
        heavy_queue_length=queues.get(cascade.heavy, 0),
        outcomes=outcomes,
        num_arrivals=sum(row.num_arrivals for row in rows),
        num_in_progress=sum(row.num_in_progress for row in rows),
        calibration=observer.calibrations.message(cascade_id),
        pinned_share=state.overrides.pins.get(cascade_id),
        slo_is_set=cascade.slo_s != catalogued.slo_s,
    )
