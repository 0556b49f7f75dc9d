"""Calls that are repeated: one query for one id, and answers kept for those who ask again."""

from __future__ import annotations

import contextlib
from collections import OrderedDict
from collections.abc import Callable

from google.protobuf.message import Message

from diffserve.errors import AlreadyExistsError
from diffserve.rpc.v1 import generation_pb2
from services.loadbalancer.live import LiveQuery

IGNORED = frozenset({"query_id", "deadline_s", "n"})
"""A client that tries again has less time left; one image may be spelled in two ways."""


def check_same(live: LiveQuery, request: generation_pb2.GenerateRequest, client_id: str) -> None:
    """Check that a request is the one that a query was made for.

    Args:
        live: The query.
        request: For one image.
        client_id: The id that the client sent.

    Raises:
        AlreadyExistsError: it is not; names the first field that differs.
    """
    field = difference(live.asked, request)
    if not field and max(1, live.asked.n) != max(1, request.n):
        field = "n"
    if field:
        raise _taken(client_id, field)


def check_number(
    find: Callable[[str], LiveQuery | None], request: generation_pb2.GenerateRequest
) -> None:
    """Check that an id that the client chose is not known with one image instead of several.

    Nor the other way round: the ids of their queries differ, so these are no repeats by themselves.

    Args:
        find: Returns the query of an id, or None; raises ``AlreadyExistsError`` where only the id
            is remembered.
        request: Of the call; has an id.

    Raises:
        AlreadyExistsError: it is.
    """
    if request.n > 1:
        other = find(request.query_id)
        if other is not None and other.asked.n <= 1:
            raise _taken(request.query_id, "n")
        return
    first: LiveQuery | None = None
    # Forgotten, it may as well have been a query of its own with an id that ends like this.
    with contextlib.suppress(AlreadyExistsError):
        first = find(f"{request.query_id}-0")
    if first is not None and first.asked.n > 1:
        raise _taken(request.query_id, "n")


def _taken(client_id: str, field: str) -> AlreadyExistsError:
    text = f"query_id: {client_id} belongs to a request with another {field}"
    return AlreadyExistsError(text, field=field)


def difference(first: Message, second: Message, prefix: str = "") -> str:
    """Return the dotted name of the first field that differs; empty when none does."""
    for field in first.DESCRIPTOR.fields:
        name = field.name
        if name in IGNORED:
            continue
        one, other = getattr(first, name), getattr(second, name)
        if isinstance(one, Message):
            inner = difference(one, other, f"{prefix}{name}.")
            if inner:
                return inner
            continue
        is_set_alike = not field.has_presence or first.HasField(name) == second.HasField(name)
        # Compared as text, NaN equals itself.
        if not is_set_alike or repr(one) != repr(other):
            return prefix + name
    return ""


def singles_of(
    request: generation_pb2.GenerateRequest, base_id: str
) -> list[generation_pb2.GenerateRequest]:
    """Return one request per image: ids ``base_id``-0, -1, ... and seeds that count up.

    The request for one image is returned as it is.
    """
    if request.n <= 1:
        return [request]
    singles = []
    for index in range(request.n):
        single = generation_pb2.GenerateRequest()
        single.CopyFrom(request)
        single.query_id = f"{base_id}-{index}"
        if request.parameters.HasField("seed"):
            single.parameters.seed = request.parameters.seed + index
        singles.append(single)
    return singles


class Answers:
    """The newest answered queries with their images; the oldest go first."""

    def __init__(self, bytes_max: int, lifetime_s: float) -> None:
        """Start empty.

        Args:
            bytes_max: Encoded images kept, bytes.
            lifetime_s: For how long at most.
        """
        self._bytes_max = bytes_max
        self._lifetime_s = lifetime_s
        self._kept: OrderedDict[str, tuple[LiveQuery, float, int]] = OrderedDict()
        self._num_bytes = 0

    def keep(self, live: LiveQuery, now_s: float) -> None:
        """Keep an answered query."""
        self._drop(live.query.query_id)
        num_bytes = live.keep_final_image()
        self._kept[live.query.query_id] = (live, now_s + self._lifetime_s, num_bytes)
        self._num_bytes += num_bytes
        self._forget(now_s)

    def get(self, query_id: str, now_s: float) -> LiveQuery | None:
        """Return an answered query; None when it is not kept (any more)."""
        self._forget(now_s)
        entry = self._kept.get(query_id)
        return entry[0] if entry else None

    def _forget(self, now_s: float) -> None:
        while self._kept:
            query_id, (_, expires_s, _) = next(iter(self._kept.items()))
            if expires_s > now_s and self._num_bytes <= self._bytes_max:
                return
            self._drop(query_id)

    def _drop(self, query_id: str) -> None:
        entry = self._kept.pop(query_id, None)
        if entry is not None:
            self._num_bytes -= entry[2]
