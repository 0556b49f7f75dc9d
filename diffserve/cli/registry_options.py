"""Options of ``diffserve cascade build --registry``, checked before anything takes long."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from diffserve.building.choice import QUALITY_KEPT
from diffserve.building.prompts import SHIPPED_PROMPTS, read_prompts
from diffserve.catalog import check_bases
from diffserve.cli.options import BATCH_SIZES, FEATURES, JUDGE
from diffserve.cli.output import CliError
from diffserve.core import Variant
from diffserve.errors import ConfigError
from diffserve.registry import load_registry


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistryOptions:
    """The command line.

    Attributes:
        out: Gets the catalog, the discriminators and the page.
        registries: Shipped names or files.
        variants: Names; none means all.
        prompts_file: Prompts, one per line; None: the shipped ones.
        judge: Hub id or folder of the preference model.
        features: Hub id or folder of the network under the heads.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        batch_sizes: As they were given.
        budget_s: Time for drawing, seconds.
        quality_kept: Share of the best variant's quality to keep.
        class_id: Request class of all that is kept; empty: the chosen cascade is served alone.
    """

    out: Path
    registries: tuple[str, ...]
    variants: tuple[str, ...]
    prompts_file: Path | None
    judge: str
    features: str
    device: str
    batch_sizes: str
    budget_s: float
    quality_kept: float
    class_id: str = ""

    def command(self) -> str:
        """Return what makes the same again; whose folders they were is nobody's business."""
        registries = (Path(name).name for name in self.registries)
        parts = [
            "diffserve cascade build",
            *(f"--registry {name}" for name in registries),
            f"--variants {','.join(self.variants)}" if self.variants else "",
            f"--prompts-file {self.prompts_file.name}" if self.prompts_file else "",
            f"--judge {name_of(self.judge)}" if self.judge != JUDGE else "",
            f"--features {name_of(self.features)}" if self.features != FEATURES else "",
            f"--device {self.device}" if self.device != "auto" else "",
            f"--batch-sizes {self.batch_sizes}" if self.batch_sizes != BATCH_SIZES else "",
            f"--quality-kept {self.quality_kept:g}" if self.quality_kept != QUALITY_KEPT else "",
            f"--class {self.class_id}" if self.class_id else "",
        ]
        return " ".join(part for part in parts if part)

    def sizes(self) -> tuple[int, ...]:
        """Return the batch sizes to profile.

        Raises:
            CliError: they are no numbers that rise from 1.
        """
        try:
            sizes = tuple(int(size) for size in self.batch_sizes.split(","))
        except ValueError:
            sizes = ()
        if not sizes or sizes[0] != 1 or list(sizes) != sorted(set(sizes)):
            raise CliError(f"--batch-sizes: {self.batch_sizes!r}: must rise from 1, like 1,2,4", 2)
        return sizes

    def prompts(self) -> list[str]:
        """Return the prompts.

        Raises:
            CliError: the file cannot be used.
        """
        try:
            return read_prompts(self.prompts_file or SHIPPED_PROMPTS)
        except ConfigError as error:
            raise CliError(f"--prompts-file: {error}", 2) from None

    def chosen_variants(self) -> dict[str, Variant]:
        """Return the variants to build from, in the order of the registries.

        Raises:
            CliError: one is not known, there are too few, or registries contradict each other.
            ConfigError: a registry cannot be read.
        """
        found: dict[str, Variant] = {}
        for registry in self.registries:
            for name, variant in load_registry(registry).items():
                if found.setdefault(name, variant) != variant:
                    raise CliError(
                        f"--registry: {registry} has another variant {name!r} than the others", 2
                    )
        check_bases("--registry", found)
        for name in self.variants:
            if name not in found:
                raise CliError(f"--variants: no variant {name!r}; there are {', '.join(found)}", 2)
        chosen = {n: v for n, v in found.items() if not self.variants or n in self.variants}
        if len(chosen) < 2:
            option = "--variants" if self.variants else "--registry"
            raise CliError(f"{option}: a cascade takes two variants at least", 2)
        return chosen


def name_of(source: str) -> str:
    """Return how people call a model: its hub id, or the name of its folder."""
    return Path(source).resolve().name if Path(source).is_dir() else source
