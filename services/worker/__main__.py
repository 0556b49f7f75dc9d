"""Starts a worker: ``python -m services.worker --help``."""

from __future__ import annotations

import os
import sys

from diffserve import logs
from diffserve.catalog import load_catalog
from diffserve.config import WorkerSettings, settings_from_argv
from diffserve.rpc.server import Endpoint, run, serve
from diffserve.rpc.v1 import worker_pb2, worker_pb2_grpc
from services.worker.application import WorkerApplication
from services.worker.servicer import WorkerServicer
from services.worker.threads import pin_threads

SERVICE_NAME = worker_pb2.DESCRIPTOR.services_by_name["Worker"].full_name


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
