"""What the controller and the discriminator say of the deployment, as JSON for the page."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
from google.protobuf import json_format
from google.protobuf.message import Message

from diffserve.rpc.channel import open_channel
from diffserve.rpc.status import from_call
from diffserve.rpc.v1 import admin_pb2, admin_pb2_grpc

TIMEOUT_S = 2.0
NUM_PLANS = 20


class ControllerStatus:
    """Asks the controller; one connection, opened on first use."""

    def __init__(self, controller_address: str) -> None:
        self._address = controller_address
        self._channel: grpc.aio.Channel | None = None

    async def __call__(self) -> dict[str, Any]:
        """Return ``Admin.GetStatus`` as JSON values, under the names of the protobuf fields.

        ``plans`` holds the newest decisions besides, newest first.

        Raises:
            DiffServeError: the controller does not answer.
        """
        if self._channel is None:
            self._channel = open_channel(self._address)
        stub = admin_pb2_grpc.AdminStub(self._channel)
        try:
            status, plans = await asyncio.gather(
                stub.GetStatus(admin_pb2.GetStatusRequest(), timeout=TIMEOUT_S),
                stub.ListPlans(admin_pb2.ListPlansRequest(limit=NUM_PLANS), timeout=TIMEOUT_S),
            )
        except grpc.aio.AioRpcError as error:
            raise from_call(error) from None
        return {**_values(status), **_values(plans)}

    async def close(self) -> None:
        """Close the connection."""
        if self._channel is not None:
            await self._channel.close()


def _values(message: Message) -> dict[str, Any]:
    document: dict[str, Any] = json_format.MessageToDict(
        message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )
    return document
