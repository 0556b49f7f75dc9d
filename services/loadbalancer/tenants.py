"""Reads what each tenant may have from a TOML file.

One table per tenant, all fields optional; ``default`` is for tenants without a table::

    [default]
    weight = 1.0
    rate_qps = 5.0        # absent: any rate
    burst = 10
    in_progress_max = 50  # absent or 0: any number

    [studio]
    weight = 4.0
"""

from __future__ import annotations

import math
import tomllib
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from diffserve.errors import ConfigError
from diffserve.policy.tenants import TenantLimits, Tenants

DEFAULT = "default"


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    weight: float = Field(1.0, gt=0, allow_inf_nan=False)
    rate_qps: float = Field(math.inf, gt=0)
    burst: float = Field(10.0, ge=1, allow_inf_nan=False)
    in_progress_max: int = Field(0, ge=0)


def load_tenants(path: str) -> Tenants:
    """Return the tenants of a file; with an empty path all tenants are alike and unlimited.

    Raises:
        ConfigError: the file cannot be read or a field is wrong; names it.
    """
    if not path:
        return Tenants()
    try:
        document = tomllib.loads(Path(path).read_text())
    except OSError as error:
        raise ConfigError(f"loadbalancer.tenants: {path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"loadbalancer.tenants: {path}: {error}") from None
    limits = {name: _limits(path, name, table) for name, table in document.items()}
    return Tenants(limits, limits.pop(DEFAULT, TenantLimits()))


def _limits(path: str, name: str, table: object) -> TenantLimits:
    try:
        return TenantLimits(**_Table.model_validate(table).model_dump())
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join((name, *(str(part) for part in first["loc"])))
        raise ConfigError(f"loadbalancer.tenants: {path}: {field}: {first['msg']}") from None
