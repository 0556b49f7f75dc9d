"""Starts the discriminator service: ``python -m services.discriminator --help``."""

from __future__ import annotations

import os
import sys

from diffserve import logs
from diffserve.catalog import load_catalog
from diffserve.config import DiscriminatorSettings, settings_from_argv
from diffserve.rpc.server import Endpoint, run, serve
from diffserve.rpc.v1 import discriminator_pb2, discriminator_pb2_grpc
from services.discriminator.application import DiscriminatorApplication

SERVICE_NAME = discriminator_pb2.DESCRIPTOR.services_by_name["Discriminator"].full_name


async def main() -> None:
    """Serve until SIGTERM.

    Raises:
        ConfigError: a setting or the catalog is wrong.
    """
    settings = settings_from_argv(DiscriminatorSettings, sys.argv[1:], os.environ)
    logs.setup("discriminator", settings.log_level, settings.log_format)
    # OpenMP reads these when torch is imported; spinning threads would starve the other services.
    os.environ["OMP_NUM_THREADS"] = str(settings.num_threads)
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    application = DiscriminatorApplication(settings, load_catalog(settings.catalog))
    endpoint = Endpoint(
        discriminator_pb2_grpc.add_DiscriminatorServicer_to_server,
        application.servicer,
        SERVICE_NAME,
    )
    exposition = application.scoring.metrics.instruments.exposition
    await serve(application, [endpoint], settings, settings.port, exposition)


if __name__ == "__main__":
    sys.exit(run(main))
