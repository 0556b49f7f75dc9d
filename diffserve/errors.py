"""Every exception that DiffServe raises on purpose.

::

    DiffServeError
    ├── InputError          the caller sent something unusable; names the field
    ├── ConfigError         a setting, catalog or profile file is wrong; names the field
    │   └── ProfileError    a profile breaks its rules (no batch 1, not monotone, ...)
    ├── OverloadedError     refused now, may work later; carries the predicted wait
    ├── DeadlineError       the deadline passed or cannot be met
    ├── UnavailableError    draining, or not started yet; try another server or again
    ├── AlreadyExistsError  a chosen id is taken
    ├── NotFoundError       nothing of that name is known
    ├── BackendError        a pipeline, discriminator or solver failed
    └── StalePlanError      an instruction of an older plan arrived after a newer one
"""

from __future__ import annotations


class DiffServeError(Exception):
    """Base class: catch this to catch everything DiffServe raises on purpose."""


class InputError(DiffServeError):
    """A field of a request is unusable.

    Attributes:
        field: Dotted name of the field, as in the protobuf message.
    """

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{field}: {problem}")
        self.field = field
        self.problem = problem


class ConfigError(DiffServeError):
    """A setting is unknown, unparsable or contradicts another; the text names the field."""


class ProfileError(ConfigError):
    """A latency, deferral or quality profile breaks its rules."""


WORKER_BUSY = "WORKER_BUSY"
"""Cause with which a worker that is well refuses a batch, because others keep it busy."""


class OverloadedError(DiffServeError):
    """The query was refused because its deadline could not be met, or a queue was full.

    Attributes:
        predicted_wait_s: Expected seconds until an answer, had it been accepted.
        retry_after_s: When a retry may succeed.
        cause: Which limit it met, for programs: a ``RefusalCause``, or ``WORKER_BUSY``.
    """

    def __init__(
        self,
        message: str,
        *,
        predicted_wait_s: float,
        retry_after_s: float,
        cause: str = "DEADLINE_CANNOT_BE_MET",
    ) -> None:
        super().__init__(message)
        self.predicted_wait_s = predicted_wait_s
        self.retry_after_s = retry_after_s
        self.cause = cause


class DeadlineError(DiffServeError):
    """The deadline passed before an image was ready."""


class UnavailableError(DiffServeError):
    """This server takes no queries now: it drains, or has no plan yet."""


class AlreadyExistsError(DiffServeError):
    """The client chose an id that is in use or remembered.

    Attributes:
        field: Dotted name of the field in which its request differs from the one that has the id;
            empty where that is not why, or where it comes from a server.
    """

    def __init__(self, message: str, *, field: str = "") -> None:
        super().__init__(message)
        self.field = field


class NotFoundError(DiffServeError):
    """Nothing of that name is known."""


class BackendError(DiffServeError):
    """A pipeline, discriminator or solver failed."""


class StalePlanError(DiffServeError):
    """An instruction belongs to an older plan than the one in force."""
