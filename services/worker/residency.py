"""Which variants are in memory: loading on demand, evicting the least recently used."""

from __future__ import annotations

import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Collection

from diffserve.core import WEIGHTS_FIELDS, Lora, Variant
from diffserve.errors import ConfigError
from services.worker.backends import Backends
from services.worker.backends.base import Replica

logger = logging.getLogger(__name__)

MIB = 1024 * 1024
MEMORY_SHARE = 0.8
"""Share of the device's memory for weights when the settings name no figure."""

WeightsKey = tuple[str | tuple[Lora, ...], ...]


def weights_key(variant: Variant) -> WeightsKey:
    """Return what must be equal for two variants to share weights in memory."""
    return tuple(getattr(variant, field) for field in WEIGHTS_FIELDS)


class Residency:
    """The resident variants of one device, grouped by the weights they share.

    Only the device thread changes it. ``resident`` is replaced as a whole after each change, so
    other threads may read it at any time.
    """

    def __init__(
        self, backends: Backends, memory_bytes_max: int, host_memory_bytes_max: int = 0
    ) -> None:
        """Start empty.

        Args:
            backends: What loads.
            memory_bytes_max: For resident variants; 0: ``MEMORY_SHARE`` of the device's memory.
            host_memory_bytes_max: For weights that left the device and may come back; 0: none.
        """
        self._host_memory_bytes_max = host_memory_bytes_max
        self._parked: OrderedDict[WeightsKey, dict[str, Replica]] = OrderedDict()
        self.resident: tuple[str, ...] = ()
        self.on_loaded: Callable[[str, float, int, int], None] = lambda *_: None
        self.on_evicted: Callable[[str], None] = lambda _: None
        self._backends = backends
        self._memory_bytes_max = memory_bytes_max
        self._groups: OrderedDict[WeightsKey, dict[str, Replica]] = OrderedDict()

    def use(self, variant: Variant) -> Replica:
        """Return the replica of a resident variant, now the most recently used.

        Raises:
            ConfigError: it is not resident.
        """
        key = weights_key(variant)
        replica = self._groups.get(key, {}).get(variant.variant_id)
        if replica is None:
            raise ConfigError(f"variant_id: {variant.variant_id} is not resident")
        self._groups.move_to_end(key)
        return replica

    def fits(self, variant: Variant) -> bool:
        """Return whether a variant can be loaded without evicting another.

        Raises:
            ConfigError: its weights are not there.
        """
        return self._missing_bytes(self._needed_bytes(variant)) <= 0

    def load(self, variant: Variant, keep: Collection[str] = ()) -> None:
        """Make a variant resident, evicting others as needed.

        Args:
            variant: Which.
            keep: Variants that it must fit beside.

        Raises:
            ConfigError: it cannot be loaded, or does not fit even alone, or beside those.
        """
        started_s = time.monotonic()
        before = self._backends.memory().used_bytes
        key = weights_key(variant)
        needed = self._needed_bytes(variant)
        self._check_size(variant, needed)
        kept = self._keys_of(keep) | {key}
        self._make_room(needed, kept)
        if len(kept) > 1:
            self._check_fit(variant, needed)
        try:
            self._unpark(variant)
            group = self._groups.get(key, {})
            sibling = next(iter(group.values()), None)
            replica = group.get(variant.variant_id) or self._backends.of(variant).load(
                variant, sibling
            )
        except ConfigError:
            # A failed load leaves half a model behind.
            self.release()
            raise
        self._groups.setdefault(key, {})[variant.variant_id] = replica
        self._groups.move_to_end(key)
        self._changed()
        # Again, for weights whose size was not known before.
        self._make_room(0, kept)
        swap_s = time.monotonic() - started_s
        after = self._backends.memory().used_bytes
        self.on_loaded(variant.variant_id, swap_s, before, after)
        logger.info(
            "loaded %s in %.2f s: memory %d MiB before, %d MiB after",
            variant.variant_id,
            swap_s,
            before // MIB,
            after // MIB,
            extra={"variant_id": variant.variant_id},
        )

    def drop(self, variant: Variant) -> None:
        """Forget a variant that turned out not to run; its weights go with their last sharer."""
        key = weights_key(variant)
        del self._groups[key][variant.variant_id]
        if not self._groups[key]:
            del self._groups[key]
        self._changed()
        self.release()

    def release(self) -> None:
        """Give memory that nothing refers to back to the system, as after a failed run."""
        self._backends.release()

    def _check_size(self, variant: Variant, needed_bytes: int) -> None:
        limit = self.limit_bytes
        if needed_bytes > limit:
            raise ConfigError(
                f"variant.{variant.variant_id}: needs {needed_bytes // MIB} MiB, "
                f"memory_bytes_max allows {limit // MIB} MiB"
            )

    def _check_fit(self, variant: Variant, needed_bytes: int) -> None:
        missing = self._missing_bytes(needed_bytes)
        if missing > 0:
            raise ConfigError(
                f"variant.{variant.variant_id}: lacks {-(-missing // MIB)} MiB beside "
                f"{', '.join(self.resident)}"
            )

    def _keys_of(self, variant_ids: Collection[str]) -> set[WeightsKey]:
        return {
            key for key, group in self._groups.items() if not group.keys().isdisjoint(variant_ids)
        }

    def _make_room(self, needed_bytes: int, keep: Collection[WeightsKey]) -> None:
        """Evict groups other than ``keep``, least recently used first, until the rest fits."""
        while self._missing_bytes(needed_bytes) > 0:
            victim = next((key for key in self._groups if key not in keep), None)
            if victim is None:
                return
            self._evict(victim)

    def _evict(self, key: WeightsKey) -> None:
        group = self._groups.pop(key)
        before = self._backends.memory().used_bytes
        names = ", ".join(group)
        for variant_id in group:
            self.on_evicted(variant_id)
        self._park(key, group)
        group.clear()
        self._changed()
        self.release()
        after = self._backends.memory().used_bytes
        logger.info(
            "evicted %s: memory %d MiB before, %d after", names, before // MIB, after // MIB
        )

    def _park(self, key: WeightsKey, group: dict[str, Replica]) -> None:
        """Keep evicted weights in host memory where there is room; the longest there give way."""
        first, needed = next(iter(group.values())), _held_bytes(group)
        if not first.parks or needed > self._host_memory_bytes_max:
            return
        while needed + sum(map(_held_bytes, self._parked.values())) > self._host_memory_bytes_max:
            self._parked.popitem(last=False)
        first.park()
        self._parked[key] = dict(group)

    def _unpark(self, variant: Variant) -> None:
        """Bring a variant's weights back if they wait; what does not come back is forgotten."""
        key = weights_key(variant)
        group = self._parked.pop(key, None)
        if group is not None:
            next(iter(group.values())).unpark(variant)
            self._groups[key] = group
            self._changed()

    def _changed(self) -> None:
        self.resident = tuple(sorted(name for group in self._groups.values() for name in group))

    def _needed_bytes(self, variant: Variant) -> int:
        if weights_key(variant) in self._groups:
            return 0
        return self._backends.of(variant).estimate_bytes(variant)

    @property
    def limit_bytes(self) -> int:
        """What the resident variants may hold together."""
        return self._memory_bytes_max or int(MEMORY_SHARE * self._backends.memory().total_bytes)

    def _missing_bytes(self, needed_bytes: int) -> int:
        held = sum(map(_held_bytes, self._groups.values()))
        return held + needed_bytes - self.limit_bytes


def _held_bytes(group: dict[str, Replica]) -> int:
    """What a group's shared weights hold."""
    return max(replica.memory_bytes for replica in group.values())
