"""The nouns of DiffServe: immutable values shared by policy, planning, services and simulator.

Times are float seconds. ``*_s`` of an instant (``arrival_s``, ``deadline_s``) is measured on the
monotonic clock of the process that holds the value; only durations (``budget_s``, ``slo_s``) may
cross a process boundary.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field

PROMPT_BYTES_MAX = 4096
"""Longest prompt that any service takes, UTF-8."""
NUM_IMAGES_MAX = 10
"""Most images of one call."""
SLO_S_MAX = 86400.0
"""Longest duration that may be promised: beyond a day nothing would ever be late."""


class CascadeStage(enum.StrEnum):
    """Position of a variant in a cascade. Paper: §3.1."""

    LIGHT = "light"
    HEAVY = "heavy"


class Preference(enum.StrEnum):
    """What a client asks of the cascade: let it decide, or pin one stage."""

    AUTO = "auto"
    LIGHT = "light"
    HEAVY = "heavy"


class Priority(enum.IntEnum):
    """Order of service among waiting queries; within one, the earliest deadline is first."""

    HIGH = 0
    NORMAL = 1
    LOW = 2


class RefusalCause(enum.StrEnum):
    """Why a query was refused at the door, for programs."""

    DEADLINE = "DEADLINE_CANNOT_BE_MET"
    QUEUE_FULL = "QUEUE_FULL"
    NO_WORKER = "NO_WORKER"
    TENANT_RATE = "TENANT_RATE"
    TENANT_IN_PROGRESS = "TENANT_IN_PROGRESS"
    TENANT_SHARE = "TENANT_SHARE"


class Outcome(enum.StrEnum):
    """How a query ended. Every query has exactly one outcome."""

    LIGHT = "light"
    """Answered with the light image, by confidence or because the client asked for it."""
    HEAVY = "heavy"
    """Answered with the heavy image."""
    LIGHT_FALLBACK = "light_fallback"
    """Was to be deferred, but the heavy stage could not answer in time; answered with the light
    image before the deadline."""
    REJECTED = "rejected"
    """Refused at the door: the deadline could not be met or a queue was full."""
    EXPIRED = "expired"
    """The deadline passed before any image was ready."""
    CANCELLED = "cancelled"
    """The client left."""
    FAILED = "failed"
    """Execution failed and no image was at hand."""

    @property
    def is_answered(self) -> bool:
        """Whether the client got an image."""
        return self in (Outcome.LIGHT, Outcome.HEAVY, Outcome.LIGHT_FALLBACK)


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """One prompt from arrival to image or drop, as the policy sees it (no image bytes).

    Attributes:
        query_id: Unique within the deployment.
        cascade_id: Which cascade serves it; until the balancer chose one, its request class.
        arrival_s: When the load balancer accepted the call.
        deadline_s: Latest useful answer; ``arrival_s`` + min(RPC budget, cascade SLO).
        preference: AUTO lets the cascade decide.
        compat_key: Queries batch together only when equal (resolution and the like).
        difficulty: Rank of its prompt by difficulty, 0..1, the hardest highest; None when nobody
            ranked it.
        priority: Which waiting queries go first.
        tenant: On whose account it is; empty is a name like others.
        is_usual: It runs with the steps, guidance and size that its cascade has without being
            asked for others, so its batch takes as long as the profile says.
    """

    query_id: str
    cascade_id: str
    arrival_s: float
    deadline_s: float
    preference: Preference = Preference.AUTO
    compat_key: str = ""
    difficulty: float | None = None
    priority: Priority = Priority.NORMAL
    tenant: str = ""
    is_usual: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Lora:
    """Low-rank weights added to a variant's own.

    Attributes:
        source: Directory, ``.safetensors`` file or hub id.
        weight_name: File within a directory or hub id; empty finds the only one.
        scale: How strongly it counts.
    """

    source: str
    weight_name: str = ""
    scale: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """Weights plus pipeline settings that can answer a query: one operating point.

    Attributes:
        variant_id: Name used in plans, queues, metrics and logs.
        base: Identity of the weights; variants of one base switch for free.
        pipeline: Import path ``module:Class`` of the diffusers pipeline class, or a bare class
            name of ``diffusers``.
        source: Directory, single file or hub id of the weights; ``mock`` needs none.
        num_inference_steps: Denoising steps.
        guidance_scale: Classifier-free guidance; 0 or 1 means none.
        width: Native width, pixels.
        height: Native height, pixels.
        dtype: ``float32``, ``float16`` or ``bfloat16``.
        scheduler: Class name of ``diffusers`` that replaces the saved one; empty keeps it.
        memory_bytes: Device memory held while resident; 0 when unknown.
        load_s: Seconds that loading and warm-up take, serving nothing; 0 when unknown.
        size_multiple: Width and height must be multiples of this, pixels.
        size_max: Largest width and height, pixels.
        scheduler_options: Settings of the scheduler that differ from the saved ones, as
            (name, value) pairs.
        denoiser: Weights that replace the pipeline's UNet or transformer: a directory, a
            ``.safetensors`` file, or ``owner/name:file`` on a hub; empty keeps its own.
        loras: Low-rank weights to add, in order.
        weight_variant: Which of several saved precisions to load, such as ``fp16``.
        safety_checker: Directory or hub id of a Stable Diffusion safety checker that looks at
            every image; empty: none does.
        config: Directory or hub id of a pipeline with the settings of a single file's parts, whose
            weights are not read; empty: diffusers asks the hub.
        step_cache: In the middle of the way, attention is computed in every so many steps and
            reused in between; 1: in every step.
    """

    variant_id: str
    base: str
    pipeline: str
    source: str
    num_inference_steps: int
    guidance_scale: float
    width: int
    height: int
    dtype: str = "float32"
    scheduler: str = ""
    memory_bytes: int = 0
    load_s: float = 0.0
    size_multiple: int = 8
    size_max: int = 2048
    scheduler_options: tuple[tuple[str, str | int | float | bool], ...] = ()
    denoiser: str = ""
    loras: tuple[Lora, ...] = ()
    weight_variant: str = ""
    safety_checker: str = ""
    config: str = ""
    step_cache: int = 1


WEIGHTS_FIELDS = (
    *("base", "pipeline", "source", "dtype"),
    *("denoiser", "loras", "weight_variant", "safety_checker", "config"),
)
"""Fields of a variant that must be equal for two to share weights in memory."""


@dataclass(frozen=True, slots=True)
class Population:
    """The confidences that one variant's images get from one discriminator.

    Another variant's are distributed otherwise, so a confidence ranks only among its own.

    Attributes:
        discriminator: Name of the scoring model.
        variant_id: Which variant drew the images; empty for images of none.
    """

    discriminator: str
    variant_id: str

    def __str__(self) -> str:
        """Return it as keys and logs spell it."""
        return f"{self.discriminator}:{self.variant_id}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cascade:
    """A light variant, a discriminator, a heavy variant and the promise made to clients.

    Attributes:
        cascade_id: Name used by clients.
        light: ``variant_id`` that runs first.
        heavy: ``variant_id`` that deferred queries run on.
        discriminator: Name of the scoring model.
        slo_s: Allowed duration from arrival to answer.
        deferral_max: Largest share of the queries that plans aim to have the heavy variant draw,
            0..1, however idle it is. An operator's pin goes beyond it.
    """

    cascade_id: str
    light: str
    heavy: str
    discriminator: str
    slo_s: float
    deferral_max: float = 1.0

    @property
    def population(self) -> Population:
        """Whose confidences its light images are ranked among; cascades of one share it."""
        return Population(self.discriminator, self.light)

    def variant_at(self, stage: CascadeStage) -> str:
        """Return the ``variant_id`` that serves ``stage``."""
        return self.light if stage is CascadeStage.LIGHT else self.heavy


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestClass:
    """Queries that any of several cascades may answer; the plan says which share goes to which.

    A cascade that no class names is a class of its own, of the same name.

    Attributes:
        class_id: Name used by clients, in place of a cascade's.
        cascade_ids: The candidates; each belongs to one class, and all have one SLO.
        weight: What its quality counts against that of other classes, above 0.
    """

    class_id: str
    cascade_ids: tuple[str, ...]
    weight: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Queries executed together on one worker.

    Attributes:
        batch_id: Unique within one load balancer.
        worker_id: Where it runs.
        variant_id: What runs.
        stage: For which stage of their cascades; a variant may be light in one, heavy in another.
        query_ids: 1..batch_size_max ids, earliest deadline first.
        started_s: When it was launched.
        only_if_idle: Other load balancers use this worker too: it refuses the batch while its
            device is busy, instead of staging it.
        is_usual: All its queries are, so that its duration tells of the variant.
    """

    batch_id: int
    worker_id: str
    variant_id: str
    stage: CascadeStage
    query_ids: tuple[str, ...]
    started_s: float
    only_if_idle: bool = False
    is_usual: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerInfo:
    """A process owning one device, as the controller knows it.

    Attributes:
        worker_id: Stable across restarts of the same worker slot.
        address: ``host:port`` of its gRPC service.
        device: ``cpu``, ``cuda:0`` and so on.
        resident: Variants loaded right now; switching to one of them is free.
        is_draining: Takes no new work.
        device_type: Kind of device, such as ``NVIDIA A100-SXM4-80GB``; workers of one type share
            latency profiles. Empty: the kind that ``device`` names.
        memory_bytes_max: What resident variants may hold together; 0 when unknown.
    """

    worker_id: str
    address: str
    device: str
    resident: tuple[str, ...] = ()
    is_draining: bool = False
    device_type: str = ""
    memory_bytes_max: int = 0

    @property
    def kind(self) -> str:
        """Device type; where none was told, ``cuda`` for ``cuda:1``."""
        return self.device_type or self.device.partition(":")[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class CascadePlan:
    """The part of a plan that concerns one cascade.

    Attributes:
        cascade_id: Which one.
        demand_qps: Planned arrival rate, headroom included.
        deferral_fraction: Share of light images that the heavy workers are sure to carry, 0..1.
        deferral_target: Share that load balancers aim at, at least that; the percentile threshold.
            They defer less while the heavy stage is behind.
        confidence_threshold: The target as a confidence by the profile at planning time (shown to
            people; decisions use percentiles).
        expected_quality: Quality at ``deferral_fraction``, in the units of the quality curve.
        class_share: Share of its request class's queries that this cascade gets, 0..1.
        bypass_fraction: Share of its queries that skip the light variant, 0..1: the hardest by
            their prompts.
        slo_s: Allowed duration in force; 0 means the catalog's.
        is_pinned: An operator fixed the share deferred; no price changes it.
    """

    cascade_id: str
    demand_qps: float
    deferral_fraction: float
    deferral_target: float
    confidence_threshold: float
    expected_quality: float
    class_share: float = 1.0
    bypass_fraction: float = 0.0
    slo_s: float = 0.0
    is_pinned: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """An immutable, versioned decision of the controller.

    Attributes:
        plan_id: Strictly increasing across controller restarts.
        placement: ``worker_id`` -> ``variant_id``.
        batch_size_max: ``variant_id`` -> largest batch to form.
        cascades: ``cascade_id`` -> its share of the plan.
        coresident: ``worker_id`` -> variants that it serves beside its placement, by time sharing;
            workers that serve one variant are absent.
        prices: ``variant_id`` -> quality that one more second of a worker's time on it would add;
            0 while it has time to spare. Duals of the plan's linear program.
        workers: ``worker_id`` -> address and state, for every placed worker.
        owners: ``worker_id`` -> ``loadbalancer_id`` of the only one that may use it; all load
            balancers use the others.
        shares: ``loadbalancer_id`` -> its share of the arrivals, for those known when it was made.
        solver: ``gurobi``, ``cbc``, ``enumeration`` or ``fallback``.
        status: ``optimal``, ``time_limit``, ``infeasible`` or ``error``.
        solve_s: Wall time of the solve.
        reason: One sentence for people: why this plan.
        activation: What operators activated beside the catalog, and the default cascade
            (``diffserve.activation``, JSON); empty: nothing.
    """

    plan_id: int
    placement: Mapping[str, str]
    batch_size_max: Mapping[str, int]
    cascades: Mapping[str, CascadePlan]
    coresident: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    prices: Mapping[str, float] = field(default_factory=dict)
    workers: Mapping[str, WorkerInfo] = field(default_factory=dict)
    owners: Mapping[str, str] = field(default_factory=dict)
    shares: Mapping[str, float] = field(default_factory=dict)
    solver: str = "fallback"
    status: str = "optimal"
    solve_s: float = 0.0
    reason: str = ""
    activation: str = ""

    def workers_on(self, variant_id: str) -> tuple[str, ...]:
        """Return the ids of the workers placed on ``variant_id``, sorted."""
        return tuple(sorted(w for w, v in self.placement.items() if v == variant_id))

    def variants_of(self, worker_id: str) -> tuple[str, ...]:
        """Return what a worker serves, its placement first; nothing when it is not placed."""
        if worker_id not in self.placement:
            return ()
        return (self.placement[worker_id], *self.coresident.get(worker_id, ()))
