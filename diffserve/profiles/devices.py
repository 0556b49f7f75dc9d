"""How fast a variant is on each type of device, against its reference profile."""

from __future__ import annotations

from collections.abc import Mapping

from diffserve.profiles.latency import LatencyProfile


class DeviceProfiles:
    """Ratios by device type and batch size; a type that nobody profiled is as the reference.

    Load balancers learn one profile per variant from all its workers. With these ratios every
    executed batch tells about all types, however few workers of one type there are.
    """

    def __init__(
        self, reference: LatencyProfile, by_type: Mapping[str, LatencyProfile] | None = None
    ) -> None:
        self._reference = reference
        self._by_type = dict(by_type or {})
        self._current = reference
        self._scaled: dict[str, LatencyProfile] = {}

    def slowness(self, device_type: str, batch_size: int) -> float:
        """Return by which factor a batch takes longer than on the reference device.

        Sizes that one of the two was not profiled for are as their largest common one.
        """
        profile = self._by_type.get(device_type)
        if profile is None:
            return 1.0
        size = min(batch_size, profile.batch_size_max, self._reference.batch_size_max)
        return profile.execution_s(size) / self._reference.execution_s(size)

    def profile_on(self, device_type: str, current: LatencyProfile) -> LatencyProfile:
        """Return the profile of a type, given what is known now of the reference device.

        Args:
            device_type: Of the worker.
            current: The reference profile, refreshed from executed batches.
        """
        profile = self._by_type.get(device_type)
        if profile is None:
            return current
        if current is not self._current:
            self._current, self._scaled = current, {}
        if device_type not in self._scaled:
            self._scaled[device_type] = self._scale(device_type, profile, current)
        return self._scaled[device_type]

    def _scale(
        self, device_type: str, profile: LatencyProfile, current: LatencyProfile
    ) -> LatencyProfile:
        largest = min(profile.batch_size_max, current.batch_size_max)
        seconds: dict[int, float] = {}
        slowest = 0.0
        for size in range(1, largest + 1):
            slowest = max(slowest, current.execution_s(size) * self.slowness(device_type, size))
            seconds[size] = slowest
        return LatencyProfile(seconds)
