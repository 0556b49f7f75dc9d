"""Workers that come, go, slow down and load variants: the machinery around the devices."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Protocol

import numpy as np

from diffserve.core import Plan, WorkerInfo
from diffserve.sim.engine import Engine, Priority
from diffserve.sim.faults import SlowDown
from diffserve.sim.hardware import Device

if TYPE_CHECKING:
    from diffserve.sim.cluster import Environment

DETECTION_S = 0.2
"""Until a router notices a dead or restarted worker: its connection breaks or comes up."""
LEASE_S = 5.0
"""Until a controller takes a silent worker for dead."""


class Listener(Protocol):
    """Who wants to know."""

    def worker_lost(self, device: Device) -> None:
        """The router notices that a worker is gone."""
        ...

    def worker_found(self, device: Device) -> None:
        """The router notices that a worker is back."""
        ...

    def replan(self) -> None:
        """The controller sees other workers than before."""
        ...


class Membership:
    """Which workers the controller believes in, and what happens to them."""

    def __init__(self, environment: Environment, engine: Engine, listener: Listener) -> None:
        self._environment = environment
        self._engine = engine
        self._listener = listener
        self._members = {device.worker_id: device for device in environment.devices}

    def start(self) -> None:
        """Schedule every fault; which workers they strike depends on nothing but their number."""
        devices, faults = self._environment.devices, self._environment.faults
        for order, loss in enumerate(faults.worker_loss):
            for index in loss.chosen(len(devices), np.random.default_rng(order)):
                self._at(loss.at_s, partial(self._die, devices[index]))
                if loss.duration_s < float("inf"):
                    self._at(loss.at_s + loss.duration_s, partial(self._restart, devices[index]))
        for order, slow in enumerate(faults.slow_down):
            for index in slow.chosen(len(devices), np.random.default_rng(100 + order)):
                self._at(slow.at_s, partial(self._slow_down, devices[index], slow))
                if slow.duration_s < float("inf"):
                    end_s = slow.at_s + slow.duration_s
                    self._at(end_s, partial(self._recover, devices[index]))

    def workers(self) -> tuple[WorkerInfo, ...]:
        """Return the workers that the controller takes for alive."""
        return tuple(device.info() for device in self._members.values())

    def assign(self, plan: Plan) -> None:
        """Let workers load what they do not hold."""
        for worker_id in plan.placement:
            device = self._members.get(worker_id)
            if device is not None and device.is_alive and not device.is_loading:
                self._assign(device, plan.variants_of(worker_id))

    def look_again(self, device: Device) -> None:
        """Let the router find a worker that refused a batch, if it is still there."""
        event = partial(self._found, device, device.incarnation)
        self._at(self._engine.now_s + DETECTION_S, event)

    def _found(self, device: Device, incarnation: int) -> None:
        if device.is_alive and device.incarnation == incarnation:
            self._listener.worker_found(device)

    def _assign(self, device: Device, variants: tuple[str, ...]) -> None:
        """Load one after the other, as far as they fit, the placement first."""
        hardware = self._environment.hardware
        wanted = variants[: hardware.num_resident_max or None]
        missing = [variant_id for variant_id in wanted if variant_id not in device.resident]
        if not missing:
            self._hold(device, wanted)
            return
        device.is_loading = True
        begin_s = max(self._engine.now_s, device.free_at_s if device.running else 0.0)
        loaded = partial(self._loaded, device, device.incarnation, wanted)
        self._at(begin_s + len(missing) * hardware.load_s, loaded)

    def _loaded(self, device: Device, incarnation: int, variants: tuple[str, ...]) -> None:
        if device.incarnation != incarnation:
            return
        device.is_loading = False
        self._hold(device, variants)
        self._listener.replan()

    def _hold(self, device: Device, variants: tuple[str, ...]) -> None:
        """Keep variants in memory; the first one counts as the most recently used."""
        for variant_id in reversed(variants):
            device.hold(variant_id, self._environment.hardware.num_resident_max)

    def _die(self, device: Device) -> None:
        if not device.is_alive:
            return
        self._write(f"{device.worker_id} dies")
        device.is_alive = False
        device.incarnation += 1
        device.running = device.staged = None
        device.is_loading = False
        now_s = self._engine.now_s
        self._at(now_s + DETECTION_S, partial(self._listener.worker_lost, device))
        self._at(now_s + LEASE_S, partial(self._expire, device, device.incarnation))

    def _expire(self, device: Device, incarnation: int) -> None:
        if device.incarnation == incarnation and not device.is_alive:
            del self._members[device.worker_id]
            self._listener.replan()

    def _restart(self, device: Device) -> None:
        self._write(f"{device.worker_id} restarts")
        device.is_alive = True
        device.variant_id = ""
        self._members[device.worker_id] = device
        self._members = dict(sorted(self._members.items()))
        now_s = self._engine.now_s
        self._at(now_s + DETECTION_S, partial(self._listener.worker_found, device))
        self._listener.replan()

    def _slow_down(self, device: Device, slow: SlowDown) -> None:
        self._write(f"{device.worker_id} slows down by {slow.factor:g}")
        device.slowdown = slow.factor

    def _recover(self, device: Device) -> None:
        self._write(f"{device.worker_id} recovers its speed")
        device.slowdown = 1.0

    def _at(self, when_s: float, event: partial[None]) -> None:
        self._engine.at(when_s, Priority.MEMBERSHIP, event)

    def _write(self, text: str) -> None:
        if self._environment.log:
            self._environment.log.fault(text, self._engine.now_s)
