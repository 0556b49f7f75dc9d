"""Images behind a URL for a while: bounded in bytes and in time."""

from __future__ import annotations

import secrets
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

SUFFIXES = {"image/png": ".png", "image/jpeg": ".jpg", "image/webp": ".webp"}


@dataclass(frozen=True, slots=True)
class StoredImage:
    """An encoded image and until when it is kept."""

    data: bytes
    media_type: str
    expires_s: float


class ImageStore:
    """Keeps answers that were asked for by ``url``; the oldest go first."""

    def __init__(self, bytes_max: int, lifetime_s: float, clock: Callable[[], float]) -> None:
        self._bytes_max = bytes_max
        self._lifetime_s = lifetime_s
        self._clock = clock
        self._images: OrderedDict[str, StoredImage] = OrderedDict()
        self._num_bytes = 0

    def put(self, data: bytes, media_type: str) -> str:
        """Keep an image; return its name, which cannot be guessed."""
        name = secrets.token_urlsafe(16) + SUFFIXES.get(media_type, "")
        expires_s = self._clock() + self._lifetime_s
        self._images[name] = StoredImage(data, media_type, expires_s)
        self._num_bytes += len(data)
        self._forget()
        return name

    def get(self, name: str) -> StoredImage | None:
        """Return an image; None when it was never here or is not any more."""
        self._forget()
        return self._images.get(name)

    def _forget(self) -> None:
        now_s = self._clock()
        while self._images:
            oldest = next(iter(self._images.values()))
            if oldest.expires_s > now_s and self._num_bytes <= self._bytes_max:
                return
            self._images.popitem(last=False)
            self._num_bytes -= len(oldest.data)
