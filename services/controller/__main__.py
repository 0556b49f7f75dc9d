"""``python -m services.controller``: runs the controller until SIGTERM."""

from __future__ import annotations

import logging
import os
import sys

from diffserve import logs
from diffserve.config import ControllerSettings, settings_from_argv
from diffserve.errors import ConfigError
from diffserve.rpc.server import run, serve
from services.controller.application import ControllerApplication


async def _serve(settings: ControllerSettings) -> None:
    application = ControllerApplication(settings)
    await serve(application, application.endpoints, settings, settings.port)


def main() -> int:
    """Return the exit status: 0 after an orderly stop, 2 for an unusable setting."""
    try:
        settings = settings_from_argv(ControllerSettings, sys.argv[1:], os.environ)
    except ConfigError as error:
        logs.setup("controller", "info", "text")
        logging.getLogger(__name__).error("%s", error)
        return 2
    logs.setup("controller", settings.log_level, settings.log_format)
    return run(lambda: _serve(settings))


if __name__ == "__main__":
    sys.exit(main())
