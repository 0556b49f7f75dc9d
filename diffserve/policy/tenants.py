"""What each tenant may have: a rate, a number of queries in progress, and a fair share. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from diffserve.core import Query, RefusalCause
from diffserve.policy.admission import Refusal

BUSY_SHARE = 0.5
"""Predicted waits above this share of a query's budget are shared out fairly."""
ACTIVE_S = 30.0
"""A tenant counts for that long after its last query: its share is kept free meanwhile."""
NUM_REMEMBERED = 1024
"""Beyond so many tenants those are forgotten that have nothing in progress and are not active."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TenantLimits:
    """What one tenant may have.

    Attributes:
        weight: Its share against that of other active tenants, above 0.
        rate_qps: Queries per second in the long run; infinite: any.
        burst: Queries at once after a pause, at least 1.
        in_progress_max: Queries waiting and running; 0: any number.
    """

    weight: float = 1.0
    rate_qps: float = math.inf
    burst: float = 10.0
    in_progress_max: int = 0


@dataclass(slots=True)
class _Account:
    limits: TenantLimits
    tokens: float
    filled_s: float
    seen_s: float = -math.inf
    num_in_progress: int = 0

    def refill(self, now_s: float) -> None:
        limits = self.limits
        if limits.rate_qps < math.inf:
            earned = limits.rate_qps * max(0.0, now_s - self.filled_s)
            self.tokens = min(limits.burst, self.tokens + earned)
        self.filled_s = max(self.filled_s, now_s)

    def is_active(self, now_s: float) -> bool:
        return self.num_in_progress > 0 or now_s - self.seen_s <= ACTIVE_S


@dataclass(slots=True)
class Tenants:
    """Accounts of all tenants that were seen.

    Attributes:
        limits: By tenant.
        default: Of tenants that ``limits`` does not name; each has an account of its own.
    """

    limits: Mapping[str, TenantLimits] = field(default_factory=dict)
    default: TenantLimits = field(default_factory=TenantLimits)
    _accounts: dict[str, _Account] = field(default_factory=dict)

    def arrive(self, query: Query, wait_s: float, now_s: float) -> Refusal | None:
        """Return why a new query is refused on its tenant's account; None where it is not.

        A query that is not refused takes a token from the bucket of its tenant. While the
        predicted wait is short, a tenant may have more than its share: nobody misses it.

        Args:
            query: Arriving now.
            wait_s: Predicted wait of the query; may be infinite.
            now_s: The caller's clock.
        """
        account = self._account(query.tenant, now_s)
        account.seen_s = now_s
        account.refill(now_s)
        limits = account.limits
        name = query.tenant or "(none)"
        if account.tokens < 1.0:
            after_s = (1.0 - account.tokens) / limits.rate_qps
            reason = f"tenant {name} sends more than {limits.rate_qps:g} queries per second"
            return Refusal(reason, 0.0, after_s, RefusalCause.TENANT_RATE)
        if 0 < limits.in_progress_max <= account.num_in_progress:
            reason = f"tenant {name} has {account.num_in_progress} queries in progress, its limit"
            return Refusal(reason, 0.0, max(0.1, _finite(wait_s)), RefusalCause.TENANT_IN_PROGRESS)
        budget_s = query.deadline_s - now_s
        if wait_s > BUSY_SHARE * budget_s and self._is_over_share(account, now_s):
            reason = (
                f"waits are long and tenant {name} has {account.num_in_progress} queries in "
                "progress, its fair share"
            )
            after_s = max(0.1, _finite(wait_s) - BUSY_SHARE * budget_s)
            return Refusal(reason, _finite(wait_s), after_s, RefusalCause.TENANT_SHARE)
        if limits.rate_qps < math.inf:
            account.tokens -= 1.0
        return None

    def opened(self, tenant: str, now_s: float) -> None:
        """Count a query that was taken in."""
        self._account(tenant, now_s).num_in_progress += 1

    def closed(self, tenant: str) -> None:
        """Count a query that ``opened`` counted as ended."""
        self._accounts[tenant].num_in_progress -= 1

    def num_in_progress(self, tenant: str) -> int:
        """Return how many queries of a tenant wait or run."""
        account = self._accounts.get(tenant)
        return account.num_in_progress if account else 0

    def _is_over_share(self, account: _Account, now_s: float) -> bool:
        """Whether one query more is above the share of those in progress that is its own."""
        active = [other for other in self._accounts.values() if other.is_active(now_s)]
        if len(active) < 2:
            return False
        total = sum(other.num_in_progress for other in active) + 1
        share = account.limits.weight / sum(other.limits.weight for other in active)
        return account.num_in_progress + 1 > max(1.0, share * total)

    def _account(self, tenant: str, now_s: float) -> _Account:
        account = self._accounts.get(tenant)
        if account is None:
            if len(self._accounts) >= NUM_REMEMBERED:
                self._forget(now_s)
            limits = self.limits.get(tenant, self.default)
            account = self._accounts[tenant] = _Account(limits, limits.burst, now_s)
        return account

    def _forget(self, now_s: float) -> None:
        self._accounts = {
            name: account for name, account in self._accounts.items() if account.is_active(now_s)
        }


def _finite(seconds: float) -> float:
    return seconds if seconds < math.inf else 1.0
