"""What may look on while queries are served: metrics, the decision log, traces."""

from __future__ import annotations

from diffserve.core import Plan
from diffserve.policy.actions import Action
from services.loadbalancer.live import LiveQuery


class Watcher:
    """Is told what happens, in order, on the event loop; must be quick and must not raise.

    Every method does nothing here. ``now_s`` is the dispatcher's clock, monotonic seconds.
    """

    def arrived(self, live: LiveQuery, now_s: float) -> None:
        """A query was taken in; nothing is decided yet."""

    def planned(self, plan: Plan, now_s: float) -> None:
        """A plan is in force from now on."""

    def performed(self, action: Action, now_s: float) -> None:
        """The balancer decided something, and it is done now."""

    def light_image(self, live: LiveQuery, now_s: float) -> None:
        """A query's light image came back; what becomes of it is not decided yet."""

    def deferred(self, live: LiveQuery, now_s: float) -> None:
        """A light image became a preview; the query waits for its heavy one."""

    def finished(self, live: LiveQuery, now_s: float) -> None:
        """A query has its outcome; its times are complete."""
