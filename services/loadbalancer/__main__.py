"""``python -m services.loadbalancer``."""

from __future__ import annotations

import logging
import os
import sys

from diffserve import logs
from diffserve.catalog import load_catalog
from diffserve.config import LoadBalancerSettings, settings_from_argv
from diffserve.errors import ConfigError
from diffserve.rpc.server import Endpoint, run, serve
from diffserve.rpc.v1 import generation_pb2, generation_pb2_grpc
from services.loadbalancer.application import LoadBalancer


async def _main(settings: LoadBalancerSettings) -> None:
    application = LoadBalancer(settings, load_catalog(settings.catalog))
    service = generation_pb2.DESCRIPTOR.services_by_name["ImageGeneration"]
    endpoint = Endpoint(
        generation_pb2_grpc.add_ImageGenerationServicer_to_server,
        application.servicer,
        service.full_name,
    )
    await serve(application, [endpoint], settings, settings.port)


def main() -> int:
    """Run the load balancer until it is told to stop."""
    try:
        settings = settings_from_argv(LoadBalancerSettings, sys.argv[1:], os.environ)
    except ConfigError as error:
        logging.error("%s", error)
        return 2
    logs.setup("loadbalancer", settings.log_level, settings.log_format)
    return run(lambda: _main(settings))


if __name__ == "__main__":
    sys.exit(main())
