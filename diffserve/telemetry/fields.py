"""Records <-> the strings that Redis holds; pure."""

from __future__ import annotations

import json
from collections.abc import Mapping

from redis.typing import EncodableT, FieldT

from diffserve.core import WorkerInfo
from diffserve.telemetry.records import CascadeReport, LoadBalancerReport, QueueReport


def report_fields(report: LoadBalancerReport) -> dict[FieldT, EncodableT]:
    """Return a report as the fields of its hash, see ``keys.LOADBALANCER``."""
    fields: dict[FieldT, EncodableT] = {
        "incarnation": report.incarnation,
        "plan_id": report.plan_id,
    }
    for variant_id, queue in report.queues.items():
        fields[f"queue_length:{variant_id}"] = queue.length
        fields[f"oldest_age_s:{variant_id}"] = round(queue.oldest_age_s, 4)
        fields[f"due_qps:{variant_id}"] = round(queue.due_qps, 4)
    for cascade_id, cascade in report.cascades.items():
        fields[f"arrivals:{cascade_id}"] = cascade.num_arrivals
        fields[f"in_progress:{cascade_id}"] = cascade.num_in_progress
        for outcome, count in cascade.outcomes.items():
            fields[f"outcome:{cascade_id}:{outcome}"] = count
    return fields


def parse_report(
    name: str, reported_unix_s: float, fields: Mapping[str, str]
) -> LoadBalancerReport:
    """Return the report behind ``report_fields``, written at ``reported_unix_s``."""
    queues: dict[str, QueueReport] = {}
    cascades: dict[str, CascadeReport] = {}
    for field in sorted(fields):
        kind, _, identity = field.partition(":")
        if kind == "queue_length":
            queues[identity] = QueueReport(
                length=int(fields[field]),
                oldest_age_s=float(fields[f"oldest_age_s:{identity}"]),
                due_qps=float(fields.get(f"due_qps:{identity}", 0.0)),
            )
        elif kind == "arrivals":
            prefix = f"outcome:{identity}:"
            cascades[identity] = CascadeReport(
                num_arrivals=int(fields[field]),
                num_in_progress=int(fields[f"in_progress:{identity}"]),
                outcomes={
                    f.removeprefix(prefix): int(v)
                    for f, v in fields.items()
                    if f.startswith(prefix)
                },
            )
    return LoadBalancerReport(
        loadbalancer_id=name,
        incarnation=fields["incarnation"],
        reported_unix_s=reported_unix_s,
        plan_id=int(fields["plan_id"]),
        queues=queues,
        cascades=cascades,
    )


def worker_json(worker: WorkerInfo) -> str:
    """Return a worker as its value in ``keys.WORKERS``."""
    return json.dumps(
        {
            "address": worker.address,
            "device": worker.device,
            "resident": list(worker.resident),
            "draining": worker.is_draining,
            "device_type": worker.device_type,
            "memory_bytes_max": worker.memory_bytes_max,
        }
    )


def parse_worker(worker_id: str, document: str) -> WorkerInfo:
    """Return the worker behind ``worker_json``."""
    row = json.loads(document)
    return WorkerInfo(
        worker_id=worker_id,
        address=row["address"],
        device=row["device"],
        resident=tuple(row["resident"]),
        is_draining=row["draining"],
        device_type=row.get("device_type", ""),
        memory_bytes_max=row.get("memory_bytes_max", 0),
    )
