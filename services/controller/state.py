"""Everything one controller knows, shared by its RPCs and its control loop."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from diffserve.activation import extended
from diffserve.catalog import Catalog, load_catalog
from diffserve.config import ControllerSettings
from diffserve.errors import ConfigError
from diffserve.planning.bruteforce import EnumerationSolver
from diffserve.planning.solver import Solver, choose_solver
from diffserve.telemetry.store import TelemetryStore
from services.controller.assignments import WorkerClients
from services.controller.history import PlanHistory
from services.controller.latencies import LatencyBook
from services.controller.membership import Membership
from services.controller.metrics import ControllerMetrics
from services.controller.observation import Observer
from services.controller.overrides import Overrides
from services.controller.plans import PlanBoard


@dataclass(slots=True, kw_only=True)
class ControllerState:
    """The parts, each the owner of its own data; all of them live on one event loop.

    Attributes:
        settings: As loaded at start.
        catalog: Variants, cascades and starting profiles, with what is activated.
        clock: Monotonic seconds.
        started_s: When this process started, by ``clock``.
        solver: Backend of the planner.
        store: Redis.
        membership: Registered workers.
        latencies: Measured execution times.
        observer: Demand and queues.
        board: The plan in force and its watchers.
        clients: Channels to workers.
        is_paused: An operator stopped re-planning.
        is_pause_ordered: This process was told whether to plan, so what an earlier one knew is old.
        metrics: What is counted, and read from here.
        overrides: What operators decided in place of catalog and planner.
        history: The newest decisions.
        watchers: Name and address of the load balancers that follow the plans, by their call.
        early_orders: What was ordered before what an earlier process knew is restored; None: it is.
    """

    settings: ControllerSettings
    catalog: Catalog
    clock: Callable[[], float]
    started_s: float
    solver: Solver | EnumerationSolver
    store: TelemetryStore
    membership: Membership
    latencies: LatencyBook
    observer: Observer
    board: PlanBoard
    clients: WorkerClients
    history: PlanHistory
    is_paused: bool = False
    is_pause_ordered: bool = False
    metrics: ControllerMetrics = field(default_factory=ControllerMetrics)
    overrides: Overrides = field(default_factory=Overrides)
    watchers: dict[object, tuple[str, str]] = field(default_factory=dict)
    early_orders: list[Callable[[Overrides], Overrides]] | None = field(default_factory=list)

    def order(self, change: Callable[[Overrides], Overrides]) -> None:
        """Put an order in force, and wake the loop, which mirrors it to Redis and plans.

        Raises:
            InputError: it makes no sense; names the field.
            ConfigError: as ``set_overrides``.
        """
        self.set_overrides(change(self.overrides))
        if self.early_orders is not None:
            self.early_orders.append(change)
        self.membership.changed.set()

    def restore_overrides(self, kept: Overrides) -> None:
        """Put in force what an earlier process kept, and then what this one was told meanwhile.

        Raises:
            ConfigError: as ``set_overrides``.
        """
        for change in self.early_orders or ():
            kept = change(kept)
        self.set_overrides(kept)
        self.early_orders = None

    def set_overrides(self, overrides: Overrides) -> None:
        """Put orders in force, activated cascades among them.

        Raises:
            ConfigError: the catalog lacks what these refer to; nothing has changed then.
        """
        activation = overrides.activation
        if activation is not None and activation != self.overrides.activation:
            catalog = extended(self.catalog, activation)
            self.observer.follow(catalog)
            self.catalog = catalog
        self.overrides = overrides


def build_state(settings: ControllerSettings, clock: Callable[[], float]) -> ControllerState:
    """Build the parts; opens no connection.

    Raises:
        ConfigError: no usable Redis URL, catalog or solver; names the setting.
    """
    if not settings.redis_url:
        raise ConfigError(
            "controller.redis_url: the controller needs a Redis server (redis://host:port/db); "
            "`diffserve up` starts one"
        )
    catalog = load_catalog(settings.catalog)
    latencies = LatencyBook(catalog.latency, catalog.latency_by_device)
    return ControllerState(
        settings=settings,
        catalog=catalog,
        clock=clock,
        started_s=clock(),
        solver=choose_solver(settings.solver),
        store=_open_store(settings.redis_url),
        membership=Membership(settings.lease_s, clock),
        latencies=latencies,
        observer=Observer(
            catalog,
            latencies,
            settings.planning_period_s,
            clock,
            uses_online_quality=settings.quality_source == "online",
        ),
        board=PlanBoard(clock),
        history=PlanHistory(clock),
        clients=WorkerClients(settings.message_bytes_max),
    )


def _open_store(url: str) -> TelemetryStore:
    try:
        return TelemetryStore(url)
    except ValueError as error:
        raise ConfigError(f"controller.redis_url: {error}") from None
