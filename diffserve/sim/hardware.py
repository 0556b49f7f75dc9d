"""Simulated devices: how long things take, what is resident, what is broken."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np

from diffserve.core import Batch, WorkerInfo
from diffserve.profiles.latency import LatencyProfile

_CHUNK = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class HardwareParameters:
    """How the simulated machines behave.

    Attributes:
        latency_cv: Coefficient of variation of execution times around the profile (lognormal).
        scoring_s: From a light batch leaving its device to its scores.
        network_s: One way between load balancer and worker.
        plan_delay_s: From a controller's look at telemetry to the plan at the router: solve and
            network.
        load_s: Loading a variant that is not resident.
        swap_s: Extra time of a device's first batch after a change between resident variants.
        num_resident_max: Variants that fit on a device; 0: all of them.
    """

    latency_cv: float = 0.02
    scoring_s: float = 0.02
    network_s: float = 0.001
    plan_delay_s: float = 0.05
    load_s: float = 5.0
    swap_s: float = 0.0
    num_resident_max: int = 0


@dataclass(slots=True)
class Device:
    """One worker's device.

    Attributes:
        worker_id: Whose.
        resident: Variants in memory, most recently used last.
        device_type: Of which kind; only catalogs that know several make a difference.
        is_alive: Whether its process runs.
        incarnation: Counts its processes: what an earlier one was doing is void.
        running: Batch on the device.
        aborted: Queries of that batch whose results are not wanted any more.
        variant_id: What ran last.
        slowdown: Factor on execution times.
        is_loading: It loads a variant and refuses batches.
        free_at_s: When its last batch leaves the device.
        expected_free_s: When that is expected, by profile.
        began_s: When it was sent the running batch, or began it if that was staged.
        staged: Batch that waits for the running one to leave the device.
    """

    worker_id: str
    resident: tuple[str, ...]
    device_type: str = ""
    is_alive: bool = True
    incarnation: int = 0
    running: Batch | None = None
    aborted: set[str] = field(default_factory=set)
    variant_id: str = ""
    slowdown: float = 1.0
    is_loading: bool = False
    free_at_s: float = 0.0
    expected_free_s: float = 0.0
    began_s: float = 0.0
    staged: Batch | None = None

    def accepts(self, variant_id: str) -> bool:
        """Whether it takes a batch of a variant now."""
        return variant_id in self.resident and not self.is_loading

    def info(self) -> WorkerInfo:
        """Return what the worker tells the controller."""
        resident = () if self.is_loading else self.resident
        return WorkerInfo(
            worker_id=self.worker_id,
            address="",
            device="sim",
            resident=resident,
            device_type=self.device_type,
        )

    def hold(self, variant_id: str, num_resident_max: int) -> None:
        """Make a variant resident, evicting the least recently used where memory is short."""
        kept = [v for v in self.resident if v != variant_id]
        if num_resident_max:
            kept = kept[len(kept) - (num_resident_max - 1) :]
        self.resident = (*kept, variant_id)


class ServiceTimes:
    """Draws execution times; one generator, consumed in the order of launches."""

    def __init__(
        self,
        profiles: Mapping[str, LatencyProfile],
        parameters: HardwareParameters,
        generator: np.random.Generator,
        by_device: Mapping[str, Mapping[str, LatencyProfile]] | None = None,
    ) -> None:
        """Make a source of execution times.

        Args:
            profiles: By ``variant_id``, for devices without a profile of their own.
            parameters: Their variation, and what a switch of variants costs.
            generator: Consumed once per launch.
            by_device: Profiles by ``variant_id``, then device type.
        """
        self._seconds = {
            (variant_id, ""): _by_batch_size(profile) for variant_id, profile in profiles.items()
        }
        for variant_id, types in (by_device or {}).items():
            for device_type, profile in types.items():
                self._seconds[variant_id, device_type] = _by_batch_size(profile)
        self._parameters = parameters
        self._factors = _lognormal(generator, parameters.latency_cv)

    def execution_s(self, device: Device, batch: Batch) -> float:
        """Return the seconds that a device takes for a batch, switching variants included."""
        profiled_s = self.profiled_s(device, batch)
        is_switch = device.variant_id not in ("", batch.variant_id)
        swap_s = self._parameters.swap_s if is_switch else 0.0
        return profiled_s * next(self._factors) * device.slowdown + swap_s

    def profiled_s(self, device: Device, batch: Batch) -> float:
        """Return the seconds that a batch takes on average on a device of its type."""
        own = self._seconds.get((batch.variant_id, device.device_type))
        return (own or self._seconds[batch.variant_id, ""])[len(batch.query_ids)]


def _by_batch_size(profile: LatencyProfile) -> dict[int, float]:
    return {size: profile.execution_s(size) for size in range(1, profile.batch_size_max + 1)}


def _lognormal(generator: np.random.Generator, cv: float) -> Iterator[float]:
    """Yield factors of mean 1 and the given coefficient of variation."""
    variance = float(np.log1p(cv * cv))
    while True:
        chunk = generator.lognormal(-variance / 2.0, variance**0.5, _CHUNK)
        yield from chunk.tolist()
