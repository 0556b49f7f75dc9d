"""Every setting of every service, and the one step that loads them.

Precedence: defaults < TOML file (``DIFFSERVE_CONFIG``) < ``DIFFSERVE_*`` environment < flags.
The TOML file has one table per service (``[worker]``) and ``[shared]`` for the settings that all
services have in common. In the environment, field ``port`` of the worker is
``DIFFSERVE_WORKER_PORT``; a shared field needs no service name: ``DIFFSERVE_REDIS_URL``.
"""

from __future__ import annotations

import argparse
import tomllib
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from diffserve.errors import ConfigError
from diffserve.files import text_of

PREFIX = "DIFFSERVE_"
MIB = 1024 * 1024


class SharedSettings(BaseModel):
    """Settings that every service has."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    redis_url: str = Field("", description="Redis server, redis://host:port/db; empty: none")
    catalog: str = Field(
        "embedded", description="catalog of variants and cascades: a shipped name or a TOML file"
    )
    controller_address: str = Field("127.0.0.1:50050", description="host:port of the controller")
    log_level: str = Field(
        "info", pattern="^(debug|info|warning|error)$", description="least level logged"
    )
    log_format: str = Field("text", pattern="^(text|json)$", description="text or json lines")
    host: str = Field("127.0.0.1", description="address to listen on; 0.0.0.0 for every interface")
    metrics_port: int = Field(
        0, ge=0, le=65535, description="port of /metrics for Prometheus; 0: none"
    )
    otlp_endpoint: str = Field(
        "",
        description="OTLP collector (gRPC) that gets traces, http://host:4317; empty: no traces",
    )
    grace_s: float = Field(20.0, ge=0, description="seconds given to accepted work on SIGTERM")
    message_bytes_max: int = Field(
        64 * MIB, ge=MIB, description="largest gRPC message; images travel in messages"
    )


class ControllerSettings(SharedSettings):
    """Settings of ``services/controller``."""

    port: int = Field(50050, ge=0, le=65535, description="port of Controller and Admin")
    planning_period_s: float = Field(2.0, gt=0, description="seconds between plans")
    lease_s: float = Field(5.0, gt=0, description="a worker silent for longer leaves the plan")
    objective: str = Field(
        "quality", pattern="^(quality|threshold)$", description="what plans maximise"
    )
    solver: str = Field(
        "auto", pattern="^(auto|gurobi|cbc|enumeration)$", description="MILP solver to use"
    )
    solver_time_limit_s: float = Field(1.0, gt=0, description="wall-clock limit of one solve")
    utilisation_max: float = Field(
        0.9, gt=0, le=1, description="share of a pool's throughput a plan may use"
    )
    quality_source: str = Field(
        "catalog",
        pattern="^(catalog|online)$",
        description="quality curve to plan with: the catalog's, or what the discriminator's "
        "confidences of recent pairs say (not FID), once there are enough",
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.solver_time_limit_s > self.planning_period_s:
            raise ValueError("solver_time_limit_s must not exceed planning_period_s")
        return self


class LoadBalancerSettings(SharedSettings):
    """Settings of ``services/loadbalancer``."""

    port: int = Field(50051, ge=0, le=65535, description="port of ImageGeneration (gRPC)")
    http_port: int = Field(
        8080, ge=0, le=65535, description="port of the HTTP API and the web page; 0: any free"
    )
    loadbalancer_id: str = Field("loadbalancer-0", description="name in telemetry and plans")
    queue_length_max: int = Field(1024, ge=1, description="queries waiting per variant, at most")
    telemetry_period_s: float = Field(0.25, gt=0, description="seconds between telemetry writes")
    answer_margin_s: float = Field(
        0.05, ge=0, description="a light fallback is sent this long before the deadline"
    )
    num_records_max: int = Field(10_000, ge=1, description="finished queries remembered")
    decision_log: str = Field(
        "", description="file for every decision, as the simulator writes them; empty: none"
    )
    answers_bytes_max: int = Field(
        256 * MIB, ge=0, description="images kept for clients that ask again by their id, bytes"
    )
    answers_lifetime_s: float = Field(300.0, ge=0, description="seconds that they are kept")
    tenants: str = Field(
        "", description="TOML file with what each tenant may have; empty: no limits, equal shares"
    )
    shadow_share: float = Field(
        0.01,
        ge=0,
        le=1,
        description="share of accepted queries that idle heavy workers draw too, for calibration",
    )


class WorkerSettings(SharedSettings):
    """Settings of ``services/worker``."""

    port: int = Field(50061, ge=0, le=65535, description="port of Worker")
    worker_id: str = Field(
        "",
        description=(
            "stable name of the slot; empty: worker-<port>, with the host name before the port "
            "when listening on every interface"
        ),
    )
    advertise_address: str = Field(
        "",
        description="host:port others use to reach it; empty: <host>:<port>, and the host name "
        "where host is every interface",
    )
    discriminator_address: str = Field(
        "127.0.0.1:50071", description="host:port of the discriminator"
    )
    device: str = Field("auto", description="auto, cpu, cuda or cuda:N")
    device_type: str = Field(
        "",
        description="kind of device; those of one kind share latency profiles; empty: the name "
        "that CUDA tells, or cpu",
    )
    num_threads: int = Field(
        0, ge=0, description="CPU threads; 0: the cores of the machine / DIFFSERVE_UP_NUM_WORKERS"
    )
    memory_bytes_max: int = Field(
        0, ge=0, description="memory for resident variants; 0: 80 % of the device's"
    )
    host_memory_bytes_max: int = Field(
        0,
        ge=0,
        description="page-locked host memory for weights that left a GPU, to bring them back fast; "
        "0: none",
    )
    compile: str = Field(
        "auto",
        pattern="^(auto|off|default|reduce-overhead|max-autotune)$",
        description="mode of torch.compile for denoiser and decoder; auto: reduce-overhead on "
        "CUDA, off on CPU; start-up then takes minutes",
    )
    preload: str = Field(
        "all", description="variants to load at start: all, none or a comma-separated list"
    )
    scoring: str = Field(
        "auto",
        pattern="^(auto|service|local)$",
        description="who scores images: service, the discriminator; local, the worker itself, "
        "which saves the way and takes the models' memory; auto: local with diffserve up, which "
        "has everything on one machine, else service",
    )
    score_timeout_s: float = Field(2.0, gt=0, description="longest wait for the discriminator")
    hang_factor: float = Field(
        20.0, gt=1, description="a batch this many times over its profile marks the device hung"
    )
    hang_exit_s: float = Field(
        30.0,
        ge=0,
        description="a device hung for this long ends the process, for whoever keeps it running to "
        "start anew; 0: never",
    )


class DiscriminatorSettings(SharedSettings):
    """Settings of ``services/discriminator``."""

    port: int = Field(50071, ge=0, le=65535, description="port of Discriminator")
    device: str = Field("auto", description="auto, cpu, cuda or cuda:N")
    num_threads: int = Field(1, ge=1, description="CPU threads")
    sketch_size: int = Field(2048, ge=16, description="recent confidences kept per light variant")


class UpSettings(SharedSettings):
    """Settings of ``diffserve up``, which starts everything on one machine."""

    num_workers: int = Field(0, ge=0, description="worker processes; 0: one per core, 2 at least")
    controller_port: int = Field(50050, ge=0, le=65535, description="port of the controller")
    loadbalancer_port: int = Field(50051, ge=0, le=65535, description="port of the gRPC door")
    http_port: int = Field(8080, ge=0, le=65535, description="port of the HTTP API and web page")
    worker_port: int = Field(50061, ge=0, le=65535, description="port of the first worker")
    discriminator_port: int = Field(50071, ge=0, le=65535, description="port of the discriminator")
    redis_port: int = Field(0, ge=0, le=65535, description="port of the Redis child; 0: any free")


SECTIONS: Mapping[str, type[SharedSettings]] = {
    "controller": ControllerSettings,
    "loadbalancer": LoadBalancerSettings,
    "worker": WorkerSettings,
    "discriminator": DiscriminatorSettings,
    "up": UpSettings,
}
"""Service name -> its settings; the only list of them."""

SettingsT = TypeVar("SettingsT", bound=SharedSettings)


def load_settings(
    model: type[SettingsT],
    *,
    environ: Mapping[str, str],
    flags: Mapping[str, Any] | None = None,
) -> SettingsT:
    """Merge defaults, TOML, environment and flags into one frozen value.

    Args:
        model: The service's settings class, one of ``SECTIONS``.
        environ: Usually ``os.environ``.
        flags: Field name -> value of flags that were given.

    Raises:
        ConfigError: something is unknown, unparsable or contradictory; one line naming it.
    """
    section = next(name for name, cls in SECTIONS.items() if cls is model)
    merged: dict[str, Any] = {}
    merged.update(_from_toml(section, environ.get(f"{PREFIX}CONFIG", "")))
    merged.update(_from_environment(section, environ))
    merged.update(flags or {})
    try:
        return model(**merged)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or section
        given = f" (given: {first['input']!r})" if first["loc"] else ""
        message = first["msg"].removeprefix("Value error, ")
        raise ConfigError(f"{section}.{where}: {message}{given}") from None


def settings_from_argv(
    model: type[SettingsT], argv: Sequence[str], environ: Mapping[str, str]
) -> SettingsT:
    """Load settings of a service whose command line has one flag per field.

    Raises:
        ConfigError: as ``load_settings``.
    """
    parser = _Parser(description=model.__doc__)
    for name, info in model.model_fields.items():
        parser.add_argument(
            f"--{name.replace('_', '-')}",
            dest=name,
            default=argparse.SUPPRESS,
            help=f"{info.description} (default: {info.default!r})".replace("%", "%%"),
        )
    flags, unknown = parser.parse_known_args(argv)
    if unknown:
        raise ConfigError(f"{unknown[0]}: there is no such flag; --help lists them")
    return load_settings(model, environ=environ, flags=vars(flags))


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """Leave it to the caller to tell, without the usage of dozens of flags."""
        raise ConfigError(message)


def _from_toml(section: str, path: str) -> dict[str, Any]:
    if not path:
        return {}
    try:
        document = tomllib.loads(text_of(path))
    except OSError as error:
        raise ConfigError(f"{PREFIX}CONFIG: cannot read {path}: {error.strerror}") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: {error}") from None
    for name, table in document.items():
        known = SharedSettings if name == "shared" else SECTIONS.get(name)
        if known is None:
            raise ConfigError(f"{path}: unknown table [{name}]")
        for key in table:
            if key not in known.model_fields:
                raise ConfigError(f"{path}: unknown setting {name}.{key}")
    return {**document.get("shared", {}), **document.get(section, {})}


def _from_environment(section: str, environ: Mapping[str, str]) -> dict[str, Any]:
    """Pick this section's settings; any unknown ``DIFFSERVE_*`` name is an error."""
    shared: dict[str, Any] = {}
    own: dict[str, Any] = {}
    for variable in sorted(environ):
        if not variable.startswith(PREFIX) or variable == f"{PREFIX}CONFIG":
            continue
        name = variable.removeprefix(PREFIX).lower()
        if name in SharedSettings.model_fields:
            shared[name] = environ[variable]
            continue
        owner, _, field = name.partition("_")
        if owner not in SECTIONS or field not in SECTIONS[owner].model_fields:
            raise ConfigError(f"{variable}: unknown setting")
        if owner == section:
            own[field] = environ[variable]
    return {**shared, **own}
