"""Settings of the live services that the simulated deployment runs with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from diffserve.config import (
    ControllerSettings,
    DiscriminatorSettings,
    LoadBalancerSettings,
    load_settings,
)

SHADOW_SHARE = "DIFFSERVE_LOADBALANCER_SHADOW_SHARE"


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveSettings:
    """What the services would be told on their command lines.

    Attributes:
        controller: Planning period, objective, utilisation.
        loadbalancer: Queue bound, answer margin, telemetry period.
        discriminator: Size of the sketch.
    """

    controller: ControllerSettings
    loadbalancer: LoadBalancerSettings
    discriminator: DiscriminatorSettings

    @classmethod
    def load(cls, environ: Mapping[str, str] | None = None) -> Self:
        """Return what services read from an environment; by default from an empty one.

        Simulations do not depend on the environment of the process: equal inputs, equal outputs.
        Shadow runs are off unless asked for: simulated images have no scores to learn from.

        Raises:
            ConfigError: a setting is unknown or wrong; names it.
        """
        known = {SHADOW_SHARE: "0", **(environ or {})}
        return cls(
            controller=load_settings(ControllerSettings, environ=known),
            loadbalancer=load_settings(LoadBalancerSettings, environ=known),
            discriminator=load_settings(DiscriminatorSettings, environ=known),
        )
