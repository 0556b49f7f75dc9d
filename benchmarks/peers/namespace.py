"""A network of the benchmark's own: peers that listen on every interface find loopback only."""

from __future__ import annotations

import fcntl
import os
import shutil
import socket
import struct
import sys

from benchmarks.peers.processes import PeerError

INSIDE = "PEERS_OWN_NETWORK"
"""Set for the command that runs in there."""
_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 0x1
_IFREQ = "16sH22x"


def enter_own_network() -> None:
    """Begin this command anew in a network namespace; return when it runs in there.

    Raises:
        PeerError: the system has none to give.
    """
    if os.environ.get(INSIDE):
        raise_loopback()
        return
    unshare = shutil.which("unshare")
    if unshare is None:
        raise PeerError("no `unshare` here (Linux, util-linux): use --shared-network")
    as_root = () if os.geteuid() == 0 else ("--map-root-user",)
    command = (unshare, *as_root, "--net", sys.executable, "-m", "benchmarks.peers", *sys.argv[1:])
    sys.stdout.flush()
    os.execve(unshare, command, {**os.environ, INSIDE: "1"})  # no shell is wanted


def raise_loopback() -> None:
    """Bring the loopback interface up; a new namespace has it down."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        asked = struct.pack(_IFREQ, b"lo", 0)
        _, flags = struct.unpack(_IFREQ, fcntl.ioctl(any_socket, _SIOCGIFFLAGS, asked))
        if not flags & _IFF_UP:
            wanted = struct.pack(_IFREQ, b"lo", flags | _IFF_UP)
            fcntl.ioctl(any_socket, _SIOCSIFFLAGS, wanted)
