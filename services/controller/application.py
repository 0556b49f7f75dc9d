"""Puts the parts together as the application that ``rpc.server.serve`` runs."""

from __future__ import annotations

import time
from collections.abc import Callable

from diffserve.config import ControllerSettings
from diffserve.planning.planner import make_plan
from diffserve.rpc.server import Endpoint, Health
from diffserve.rpc.v1 import admin_pb2_grpc, controller_pb2_grpc
from services.controller.admin import AdminServicer
from services.controller.control_loop import ControlLoop, Planner
from services.controller.servicer import ControllerServicer
from services.controller.state import ControllerState, build_state


class ControllerApplication:
    """One controller process.

    Attributes:
        state: What it knows; for tests and for the servicers.
        endpoints: The gRPC services to serve.
    """

    def __init__(
        self,
        settings: ControllerSettings,
        planner: Planner = make_plan,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Build everything; opens no connection.

        Raises:
            ConfigError: a setting is unusable; names it.
        """
        self.state: ControllerState = build_state(settings, clock)
        self.state.metrics.follow(self.state)
        self.endpoints = (
            Endpoint(
                controller_pb2_grpc.add_ControllerServicer_to_server,
                ControllerServicer(self.state),
                "diffserve.rpc.v1.Controller",
            ),
            Endpoint(
                admin_pb2_grpc.add_AdminServicer_to_server,
                AdminServicer(self.state),
                "diffserve.rpc.v1.Admin",
            ),
        )
        self._loop = ControlLoop(self.state, planner)

    async def start(self, health: Health, port: int) -> None:
        """Restore what Redis knows, put a plan in force, start the control loop.

        A Redis that does not answer yet does not stop the start: workers can register, and the
        loop goes on trying.
        """
        await self._loop.start()

    async def drain(self) -> None:
        """End plan watches; watchers reconnect to the next controller."""
        self.state.board.close()

    async def stop(self) -> None:
        """Stop the loop and close all connections."""
        self.state.board.close()
        await self._loop.stop()
        await self.state.clients.close()
        await self.state.store.close()
