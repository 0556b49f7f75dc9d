"""Starts the controller: ``python -m services.controller --help``."""

from __future__ import annotations

import os
import sys

from diffserve import logs
from diffserve.config import ControllerSettings, settings_from_argv
from diffserve.rpc.server import run, serve
from services.controller.application import ControllerApplication


async def main() -> None:
    """Serve until SIGTERM.

    Raises:
        ConfigError: a setting or the catalog is wrong.
    """
    settings = settings_from_argv(ControllerSettings, sys.argv[1:], os.environ)
    logs.setup("controller", settings.log_level, settings.log_format)
    application = ControllerApplication(settings)
    exposition = application.state.metrics.instruments.exposition
    await serve(application, application.endpoints, settings, settings.port, exposition)


if __name__ == "__main__":
    sys.exit(run(main))
