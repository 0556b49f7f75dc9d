"""Says what a catalog of the zoo's cascades holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from diffserve.building.catalog_file import Contents, Profile, Served
from diffserve.building.catalog_file import catalog_text as text_of
from diffserve.catalog import Discriminator, Example
from diffserve.core import Variant
from diffserve.embedded.evaluate import DISCRIMINATORS
from diffserve.embedded.presets import Preset
from diffserve.embedded.scenes import IMAGE_PX

SLO_S = 10.0
QUALITY_METRIC = (
    "share of images that show what the prompt asks for (slot checker, held-out prompts)"
)
EXAMPLES = (
    Example("easy", "flat style, an owl, sky blue background"),
    Example("easy", "pixel style, a strawberry, night background"),
    Example("hard", "sketch style, two rockets above a cat, pink background"),
    Example("hard", "a dog and a panda above a butterfly, green meadow background"),
)


def catalog_text(
    head: str,
    served: Sequence[Served],
    presets: Mapping[str, Preset],
    profiles: Mapping[str, Profile],
    root: Path,
    class_id: str = "",
) -> str:
    """Return a catalog as TOML, with all discriminators.

    Args:
        head: A line for people, at the top.
        served: The cascades, the default one first.
        presets: Every variant's settings, by name.
        profiles: Every variant's costs.
        root: Folder of the models' folders as the catalog is to name it.
        class_id: Request class of all cascades; see ``Contents``.
    """
    return text_of(
        Contents(
            head=(
                f"{head}:",
                "latencies in seconds by batch size on one thread, curves on held-out prompts.",
            ),
            served=served,
            variants=[_variant(preset, root) for preset in presets.values()],
            profiles=profiles,
            discriminators=[
                Discriminator(
                    discriminator_id=name,
                    scorer=f"{kind.__module__}:{kind.__name__}",
                    source=str(root / name),
                )
                for name, kind in DISCRIMINATORS.items()
            ],
            metric=QUALITY_METRIC,
            examples=EXAMPLES,
            class_id=class_id,
        )
    )


def _variant(preset: Preset, root: Path) -> Variant:
    return Variant(
        variant_id=preset.name,
        base=preset.folder,
        pipeline="diffserve.embedded.pipeline:EmojiScenePipeline",
        source=str(root / preset.folder),
        num_inference_steps=preset.num_inference_steps,
        guidance_scale=preset.guidance_scale,
        width=IMAGE_PX,
        height=IMAGE_PX,
        size_multiple=IMAGE_PX,
        size_max=8 * IMAGE_PX,
    )
