"""``diffserve cascade build --registry``: cascades of any variants, judged by a preference model.

One model is in memory at a time: every variant is profiled, every variant draws, then the judge
looks at all images, then the features' network. What is done is kept, and an interrupted build
goes on there.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import quote

from diffserve.building.catalog_file import (
    Contents,
    Profile,
    catalog_text,
    seen_from,
    served_cascades,
)
from diffserve.building.choice import Candidate, Choice, PairName, choose
from diffserve.building.prompts import shuffled
from diffserve.building.store import Store
from diffserve.catalog import Discriminator, Example, load_catalog
from diffserve.cli.built import described, meaning_of_default, tell
from diffserve.cli.output import CliError
from diffserve.cli.registry_drawing import (
    CACHE,
    Work,
    digest,
    drawn_prompts,
    fingerprint,
    local_files,
    profiled,
)
from diffserve.cli.registry_judging import check_networks, looked_at
from diffserve.cli.registry_options import RegistryOptions, name_of
from diffserve.cli.writing import make_folder
from diffserve.experiments.built_cascades import page
from diffserve.experiments.registry_cascades import judge_table, routing_table, wording
from diffserve.experiments.report import Made, check_drawing, write_page
from diffserve.gain.discriminator import GainDiscriminator, save_head
from diffserve.gain.model_card import Judged, model_card
from diffserve.gain.training import (
    NUM_PROMPTS_MIN,
    TrainedPair,
    routing,
    singles,
    telling_prompts,
    train,
)

SLO_FACTOR = 3.0
"""A cascade's SLO, as a multiple of what its slowest answer takes alone."""
NUM_EXAMPLES = 2
SCORER = f"{GainDiscriminator.__module__}:{GainDiscriminator.__name__}"


def run_registry_build(options: RegistryOptions, *, as_json: bool) -> None:
    """Build; an interrupted run goes on where it stopped.

    Raises:
        CliError: an option, a variant or a network is wrong; says which.
    """
    check_drawing()
    work = _work(options)
    make_folder("--out", options.out)
    profiles = profiled(work)
    prompts = drawn_prompts(work, profiles)
    drawn = looked_at(work, profiles, prompts)
    pairs = train(drawn)
    alone = singles(drawn)
    outcomes = {name: pair.outcomes for name, pair in pairs.items()}
    choice = choose(outcomes, alone, options.quality_kept)
    judged = Judged(
        judge=name_of(options.judge),
        features=name_of(options.features),
        best=drawn.preferences.best,
        num_trained=int(drawn.trained.sum()),
        num_graded=int(drawn.graded.sum()),
    )
    graded = [prompt for prompt, is_graded in zip(prompts, drawn.graded, strict=True) if is_graded]
    catalog = _write_catalog(work, profiles, choice, pairs, judged, graded)
    result = page(
        choice,
        profiles,
        alone,
        options.quality_kept,
        wording(judged),
        (routing_table({name: routing(pair) for name, pair in pairs.items()}), judge_table(drawn)),
    )
    written = write_page(result, Made(options.command(), (), quick=False), options.out)
    work.store.forget()
    tell(choice, catalog, written, "preferred", class_id=options.class_id, as_json=as_json)


def _work(options: RegistryOptions) -> Work:
    variants, sizes = options.chosen_variants(), options.sizes()
    prompts = shuffled(options.prompts())
    if len(prompts) < NUM_PROMPTS_MIN:
        raise CliError(
            f"--prompts-file: {len(prompts)} prompts; at least {NUM_PROMPTS_MIN} are needed", 2
        )
    check_networks(options)
    key = digest(
        *(fingerprint(variant) for variant in variants.values()),
        *(options.device, str(sizes)),
        *(source + str(local_files(source)) for source in (options.judge, options.features)),
    )
    return Work(
        options=options,
        variants=variants,
        prompts=prompts,
        sizes=sizes,
        store=Store(CACHE / key),
    )


def _write_catalog(
    work: Work,
    profiles: Mapping[str, Profile],
    choice: Choice,
    pairs: Mapping[PairName, TrainedPair],
    judged: Judged,
    graded: Sequence[str],
) -> Path:
    """Write the catalog and the discriminators of its cascades; return the former."""
    out = work.options.out
    class_id = work.options.class_id
    served = served_cascades(
        *(choice, _slo_s, lambda c: f"{described(c.point, 'preferred')}."),
        is_class=bool(class_id),
    )
    discriminators = []
    for cascade in served:
        pair = pairs[cascade.name]
        name = cascade.name.discriminator
        folder = Path("discriminators") / quote(name, safe="")
        save_head(pair.head, work.options.features, out / folder)
        card = model_card(pair, routing(pair), judged)
        (out / folder / "README.md").write_text(card, encoding="utf-8")
        discriminators.append(
            Discriminator(discriminator_id=name, scorer=SCORER, source=str(folder))
        )
    easy, hard = telling_prompts(pairs[choice.default.name], graded, NUM_EXAMPLES)
    contents = Contents(
        head=(
            f"Made by `{work.options.command()}`; {meaning_of_default(class_id)}:",
            "latencies in seconds by batch size on the device at hand, curves on prompts that no "
            "discriminator was trained on.",
        ),
        served=served,
        variants=[seen_from(work.variants[name], out) for name in profiles],
        profiles=profiles,
        discriminators=discriminators,
        metric=judged.metric,
        examples=[
            *(Example("easy", prompt) for prompt in easy),
            *(Example("hard", prompt) for prompt in hard),
        ],
        class_id=class_id,
    )
    catalog = out / "cascades.toml"
    catalog.write_text(catalog_text(contents), encoding="utf-8")
    load_catalog(str(catalog))  # what cannot be served must not look finished
    return catalog


def _slo_s(candidate: Candidate) -> float:
    """Return an SLO that leaves room for waiting, rounded up to a tenth of a second."""
    outcomes = candidate.outcomes
    slowest_s = outcomes.light_s + outcomes.scoring_s + outcomes.heavy_s
    return math.ceil(10.0 * SLO_FACTOR * slowest_s) / 10.0
