"""Whether this machine can listen on an address, told before a server fails for some reason."""

from __future__ import annotations

import socket


def host_problem(host: str) -> str:
    """Return why nothing can listen on a host, whatever the port; empty where it can.

    Args:
        host: Name or address, IPv6 with or without brackets.
    """
    try:
        family, kind, number, _, address = socket.getaddrinfo(
            host.strip("[]"), 0, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind, number) as probe:
            probe.bind(address)
    except OSError as error:
        return (error.strerror or str(error)).lower()
    return ""
