"""Client channels: one place for message limits, keepalive and retries."""

from __future__ import annotations

import grpc

MESSAGE_BYTES_MAX = 64 * 1024 * 1024
KEEPALIVE_S = 20.0
KEEPALIVE_TIMEOUT_S_MAX = 5.0


def channel_options(
    message_bytes_max: int = MESSAGE_BYTES_MAX, keepalive_s: float = KEEPALIVE_S
) -> list[tuple[str, int]]:
    """Return gRPC options used by every client and server of DiffServe.

    The default limit of 4 MiB breaks on four 1024x1024 images; keepalive finds dead peers whose
    connection was never closed.
    """
    timeout_ms = int(1000 * min(keepalive_s, KEEPALIVE_TIMEOUT_S_MAX))
    return [
        ("grpc.max_send_message_length", message_bytes_max),
        ("grpc.max_receive_message_length", message_bytes_max),
        ("grpc.keepalive_time_ms", int(1000 * keepalive_s)),
        ("grpc.keepalive_timeout_ms", timeout_ms),
        # Without it a peer that is gone without a word is waited for a minute all the same.
        ("grpc.http2.ping_timeout_ms", timeout_ms),
        ("grpc.http2.max_pings_without_data", 0),
        ("grpc.keepalive_permit_without_calls", 1),
        # Of a server: what it takes from clients, such as load balancers that watch workers.
        ("grpc.http2.min_ping_interval_without_data_ms", 1_000),
    ]


def reconnecting_options() -> list[tuple[str, int]]:
    """Return options for channels inside a deployment: a restarted peer is found within 1 s."""
    return [
        ("grpc.initial_reconnect_backoff_ms", 100),
        # Despite its name, the time one attempt may take: on a busy host the handshake alone can
        # need more than 100 ms. A refused connection is retried by the two backoffs all the same.
        ("grpc.min_reconnect_backoff_ms", 2_000),
        ("grpc.max_reconnect_backoff_ms", 1_000),
    ]


def open_channel(
    address: str,
    message_bytes_max: int = MESSAGE_BYTES_MAX,
    *,
    retries: bool = True,
    keepalive_s: float = KEEPALIVE_S,
) -> grpc.aio.Channel:
    """Open an insecure asyncio channel to ``host:port``.

    Args:
        address: Where to.
        message_bytes_max: Of one message.
        retries: Leave calls that never reached the peer to gRPC to try again. Its machinery costs
            a tenth of a small call, so callers that do it themselves go without.
        keepalive_s: A peer that has been silent for so long is asked whether it is there, and
            given up after as long again, 5 s at most.
    """
    options = [*channel_options(message_bytes_max, keepalive_s), *reconnecting_options()]
    if not retries:
        options.append(("grpc.enable_retries", 0))
    return grpc.aio.insecure_channel(address, options=options)


def open_sync_channel(address: str) -> grpc.Channel:
    """Open a blocking channel to ``host:port``, for command-line use."""
    return grpc.insecure_channel(address, options=channel_options())
