"""Asks a service for its health; made for the health checks of containers.

``python -m diffserve.rpc.probe HOST:PORT [SERVICE]`` prints the state and exits with 0 when it is
SERVING. Imports little, since it runs every few seconds.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

TIMEOUT_S = 2.0
USAGE = "usage: python -m diffserve.rpc.probe HOST:PORT [SERVICE]"
SERVING = "SERVING"


def probe(address: str, service: str = "", *, timeout_s: float = TIMEOUT_S) -> str:
    """Return the health state of a process, or of one of its services.

    Args:
        address: ``host:port``.
        service: Full protobuf name; empty asks about the whole process.
        timeout_s: Longest wait, seconds.

    Returns:
        "SERVING", "NOT_SERVING", or the name of the gRPC status when there was no answer.
    """
    with grpc.insecure_channel(address) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        try:
            answer = stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=timeout_s)
        except grpc.RpcError as error:
            return str(error.code().name)
    return str(health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status))


def main(argv: Sequence[str]) -> int:
    """Run the command line; returns the exit status: 0 serving, 1 not, 2 wrong usage."""
    if len(argv) not in (1, 2):
        sys.stderr.write(f"{USAGE}\n")
        return 2
    state = probe(*argv)
    sys.stdout.write(f"{state}\n")
    return 0 if state == SERVING else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
