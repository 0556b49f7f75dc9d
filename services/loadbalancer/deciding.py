"""The decision log of a live load balancer, line for line as the simulator writes it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from diffserve.core import Plan
from diffserve.errors import ConfigError
from diffserve.policy.actions import Action
from diffserve.policy.decision_log import DecisionLog
from services.loadbalancer.live import LiveQuery
from services.loadbalancer.watching import Watcher


class DecisionLogWatcher(Watcher):
    """Appends every arrival, plan and action to a file; times count from its making.

    A line is with the system once it is written: a killed process loses none.
    """

    def __init__(self, path: str, default_cascade: str, now_s: float) -> None:
        """Start a new file.

        Args:
            path: Where; an older file there is replaced.
            default_cascade: Queries of others are written with their cascade.
            now_s: The dispatcher's clock.

        Raises:
            ConfigError: it cannot be written.
        """
        try:
            # Open as long as the service serves.
            self._file = Path(path).open("w", buffering=1, encoding="utf-8")  # noqa: SIM115
        except OSError as error:
            raise ConfigError(
                f"loadbalancer.decision_log: cannot write {path}: {error.strerror}"
            ) from None
        self._log = DecisionLog(self._file)
        self._default_cascade = default_cascade
        self._began_s = now_s

    def arrived(self, live: LiveQuery, now_s: float) -> None:
        """Write an arrival, and its cascade where it is not the default one."""
        query = replace(live.query, deadline_s=live.query.deadline_s - self._began_s)
        self._log.arrival(query, now_s - self._began_s)
        if query.cascade_id != self._default_cascade:
            self._log.route(query, now_s - self._began_s)

    def planned(self, plan: Plan, now_s: float) -> None:
        """Write a plan."""
        self._log.plan(plan, now_s - self._began_s)

    def performed(self, action: Action, now_s: float) -> None:
        """Write an action."""
        self._log.action(action, now_s - self._began_s)

    def close(self) -> None:
        """Close the file."""
        self._file.close()
