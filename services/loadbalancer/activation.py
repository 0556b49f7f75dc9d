"""What can be asked for: the catalog this process started with, and what plans add to it."""

from __future__ import annotations

import logging

from diffserve.activation import Activation, extended
from diffserve.catalog import Catalog
from diffserve.core import Plan
from diffserve.errors import ConfigError

logger = logging.getLogger(__name__)


class CatalogInForce:
    """Follows the activations that plans carry.

    Attributes:
        current: The catalog in force.
    """

    def __init__(self, catalog: Catalog) -> None:
        """Start with the catalog of the settings."""
        self.current = catalog
        self._own = catalog
        self._activation = ""

    @property
    def names(self) -> list[str]:
        """What requests may name: classes and cascades, sorted."""
        return sorted({*self.current.classes, *self.current.cascades})

    def follow(self, plan: Plan) -> bool:
        """Take over what a newer plan says is activated; return whether that is news.

        What does not fit the own catalog changes nothing: queries are served as before.
        """
        if plan.activation == self._activation:
            return False
        self._activation = plan.activation
        try:
            self.current = (
                extended(self._own, Activation.from_json(plan.activation))
                if plan.activation
                else self._own
            )
        except (ConfigError, ValueError) as error:
            logger.error("plan %d: %s; the cascades stay as they were", plan.plan_id, error)
            return False
        logger.info("the default cascade is %s", self.current.default_cascade)
        return True
