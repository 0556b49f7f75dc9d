"""What operators order about cascades and workers: checked, taken over, answered."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import grpc

from diffserve.activation import activation_of
from diffserve.errors import ConfigError, InputError, NotFoundError, UnavailableError
from diffserve.rpc.v1 import admin_pb2, worker_pb2
from services.controller import report
from services.controller.latencies import common_device
from services.controller.membership import Member
from services.controller.state import ControllerState
from services.controller.what_if import class_named


def set_slo(state: ControllerState, request: admin_pb2.SetSloRequest) -> admin_pb2.SetSloResponse:
    """Set the SLO of all cascades of a class; planning takes it up at once.

    Raises:
        InputError: no such cascade, or no duration.
    """
    catalog = state.catalog
    cascade_ids = sorted(catalog.classes[class_named(state, request.cascade_id)].cascade_ids)
    slo_s = request.slo_s if request.HasField("slo_s") else None
    times_s = [_times_s(state, cascade_id) for cascade_id in cascade_ids]
    state.order(lambda overrides: overrides.with_slo(cascade_ids, slo_s))
    return admin_pb2.SetSloResponse(
        cascade_ids=cascade_ids,
        slo_s=state.overrides.cascade(catalog.cascades[cascade_ids[0]]).slo_s,
        planning_paused=state.is_paused,
        redis_gone=not state.observer.is_connected,
        both_variants_s=max(sum(times) for times in times_s),
        light_variant_s=min(light_s for light_s, _ in times_s),
    )


def pin_threshold(
    state: ControllerState, request: admin_pb2.PinThresholdRequest
) -> admin_pb2.PinThresholdResponse:
    """Fix the share that a cascade defers, or unpin it; planning takes it up at once.

    Raises:
        InputError: no such cascade or class, or no share.
    """
    catalog = state.catalog
    name = request.cascade_id or catalog.default_cascade
    is_one = name in catalog.cascades
    cascade_ids = [name] if is_one else catalog.classes[class_named(state, name)].cascade_ids
    share = request.share if request.HasField("share") else None
    state.order(lambda overrides: overrides.with_pins(cascade_ids, share))
    return admin_pb2.PinThresholdResponse(
        share=share,
        planning_paused=state.is_paused,
        redis_gone=not state.observer.is_connected,
        cascade_ids=cascade_ids,
    )


def activate_cascades(
    state: ControllerState, request: admin_pb2.ActivateCascadesRequest
) -> admin_pb2.ActivateCascadesResponse:
    """Serve the cascades of a catalog file too, one of them by default, from the next plan on.

    Raises:
        InputError: the file is wrong or does not fit the deployment; names its field.
    """
    path = Path(request.name or "catalog.toml")
    before = state.catalog
    try:
        activation = activation_of(
            *(before, path, request.catalog, request.cascade_id), suffix=request.suffix
        )
        state.order(lambda o: replace(o, activation=activation.after(o.activation)))
    except ConfigError as error:
        raise InputError("catalog", str(error)) from None
    return admin_pb2.ActivateCascadesResponse(
        added=sorted(set(state.catalog.cascades) - set(before.cascades)),
        default_cascade=state.catalog.default_cascade,
        planning_paused=state.is_paused,
        redis_gone=not state.observer.is_connected,
    )


async def restart_worker(
    state: ControllerState, request: admin_pb2.RestartWorkerRequest
) -> admin_pb2.RestartWorkerResponse:
    """Take a worker out of the plan and have its process end.

    The new process is undrained: an operator's drain belongs to the process that got it.

    Raises:
        NotFoundError: no such worker.
        UnavailableError: it does not answer.
    """
    member = registered(state, request.worker_id)
    state.membership.set_drained(request.worker_id, drained=True)
    stub = state.clients.stub(member.reported.address)
    try:
        answer = await stub.Restart(worker_pb2.RestartRequest(), timeout=state.settings.grace_s)
    except grpc.aio.AioRpcError as error:
        state.membership.set_drained(request.worker_id, drained=member.is_drained)
        raise UnavailableError(
            f"worker {request.worker_id} at {member.reported.address} did not answer "
            f"({error.code().name}: {error.details()}); nothing has changed"
        ) from None
    return admin_pb2.RestartWorkerResponse(
        worker=report.worker(state, member), exit_status=answer.exit_status
    )


def registered(state: ControllerState, worker_id: str) -> Member:
    """Return a registered worker.

    Raises:
        NotFoundError: there is none of that name.
    """
    member = state.membership.get(worker_id)
    if member is None:
        raise NotFoundError(f"no worker {worker_id!r} is registered")
    return member


def _times_s(state: ControllerState, cascade_id: str) -> tuple[float, float]:
    """Return the seconds that light and heavy variant take for one query."""
    cascade, device = state.catalog.cascades[cascade_id], common_device(state.membership.workers())
    light, heavy = (state.latencies.profile(v, device) for v in (cascade.light, cascade.heavy))
    return light.execution_s(1), heavy.execution_s(1)
