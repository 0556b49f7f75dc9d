"""Starts the load balancer: ``python -m services.loadbalancer --help``."""

from __future__ import annotations

import os
import sys

from diffserve import logs
from diffserve.catalog import load_catalog
from diffserve.config import LoadBalancerSettings, settings_from_argv
from diffserve.rpc.server import Endpoint, run, serve
from diffserve.rpc.v1 import generation_pb2, generation_pb2_grpc
from services.loadbalancer.application import LoadBalancer

SERVICE_NAME = generation_pb2.DESCRIPTOR.services_by_name["ImageGeneration"].full_name


async def main() -> None:
    """Serve until SIGTERM.

    Raises:
        ConfigError: a setting or the catalog is wrong.
    """
    settings = settings_from_argv(LoadBalancerSettings, sys.argv[1:], os.environ)
    logs.setup("loadbalancer", settings.log_level, settings.log_format)
    application = LoadBalancer(settings, load_catalog(settings.catalog))
    endpoint = Endpoint(
        generation_pb2_grpc.add_ImageGenerationServicer_to_server,
        application.servicer,
        SERVICE_NAME,
    )
    exposition = application.metrics.instruments.exposition
    await serve(application, [endpoint], settings, settings.port, exposition)


if __name__ == "__main__":
    sys.exit(run(main))
