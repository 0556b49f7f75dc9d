"""Starts a worker: ``python -m services.worker --help``."""

from __future__ import annotations

import os
import sys

from diffserve import logs
from diffserve.catalog import load_catalog
from diffserve.config import UpSettings, WorkerSettings, load_settings, settings_from_argv
from diffserve.rpc.server import Endpoint, run, serve
from diffserve.rpc.v1 import worker_pb2, worker_pb2_grpc
from services.worker.application import WorkerApplication
from services.worker.servicer import WorkerServicer

SERVICE_NAME = worker_pb2.DESCRIPTOR.services_by_name["Worker"].full_name


def pin_threads(settings: WorkerSettings) -> int:
    """Fix the size of OpenMP's pool, before anything imports torch; return it.

    Several workers whose threads spin on shared cores slow each other down by orders of magnitude.
    """
    num_workers = load_settings(UpSettings, environ=os.environ).num_workers or 1
    # Not every system can tell which of its cores this process may use.
    num_cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    num_threads = settings.num_threads or max(1, num_cores // num_workers)
    os.environ["OMP_NUM_THREADS"] = str(num_threads)
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    return num_threads


async def main() -> int:
    """Serve until SIGTERM, or until told to restart; return the exit status.

    Raises:
        ConfigError: a setting or the catalog is wrong.
    """
    settings = settings_from_argv(WorkerSettings, sys.argv[1:], os.environ)
    logs.setup("worker", settings.log_level, settings.log_format)
    application = WorkerApplication(settings, load_catalog(settings.catalog), pin_threads(settings))
    endpoint = Endpoint(
        worker_pb2_grpc.add_WorkerServicer_to_server, WorkerServicer(application), SERVICE_NAME
    )
    exposition = application.metrics.instruments.exposition
    await serve(application, [endpoint], settings, settings.port, exposition)
    return application.exit_status


if __name__ == "__main__":
    sys.exit(run(main))
