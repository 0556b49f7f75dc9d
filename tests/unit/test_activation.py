"""What a file adds to a running catalog, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from diffserve.activation import Activation, activation_of, extended
from diffserve.catalog import Catalog, load_catalog
from diffserve.errors import ConfigError
from tests.catalogs import BIG, FAR, FURTHER, MID, NEAR, RUNNING, SCORER, TINY, cascade

FILE = Path("new.toml")


@pytest.fixture
def running(tmp_path: Path) -> Catalog:
    path = tmp_path / "running.toml"
    path.write_text(RUNNING)
    return load_catalog(str(path))


def test_a_new_cascade_joins_those_that_run_and_becomes_the_default(running: Catalog) -> None:
    activation = activation_of(running, FILE, FURTHER, "")
    after = extended(running, Activation.from_json(activation.to_json()))
    assert set(activation.cascade) == {"far"}
    assert set(after.cascades) == {"near", "far"}
    assert after.default_cascade == "far"
    assert (after.cascades["far"].light, after.cascades["far"].slo_s) == ("mid", 3.0)
    assert after.quality["far"].qualities[-1] == 0.9
    assert after.deferral["far"].fractions == (0.0, 0.5, 1.0)
    assert after.classes["far"].cascade_ids == ("far",)
    assert after.cascades["near"] is running.cascades["near"]


def test_activating_the_first_file_again_goes_back(running: Catalog) -> None:
    further = activation_of(running, FILE, FURTHER, "")
    after = extended(running, further)
    back = activation_of(after, FILE, RUNNING, "").after(further)
    assert extended(after, back).default_cascade == "near"
    assert extended(running, back).cascades.keys() == {"near", "far"}


def test_a_changed_cascade_gets_a_suffix_and_is_served_beside_its_former_self(
    running: Catalog,
) -> None:
    changed = RUNNING.replace("0.9]", "0.95]") + '[class.all]\ncascades = ["near"]\n'
    activation = activation_of(running, FILE, changed, "all", suffix="july")
    after = extended(running, Activation.from_json(activation.to_json()))
    assert set(after.cascades) == {"near", "near-july"}
    assert after.default_cascade == "all-july"
    assert after.classes["all-july"].cascade_ids == ("near-july",)
    qualities = [after.quality[c].qualities[-1] for c in ("near", "near-july")]
    assert qualities == [0.9, 0.95]
    with pytest.raises(ConfigError, match="suffix: must be 1 to 32 of"):
        activation_of(running, FILE, changed, "", suffix="of July")


def test_a_class_of_new_cascades_comes_with_them(running: Catalog) -> None:
    group = '[class.both]\ncascades = ["far", "wide"]\n'
    text = FURTHER + cascade("wide", "tiny", "big", 3.0) + TINY + group
    after = extended(running, activation_of(running, FILE, text, "both"))
    assert after.default_cascade == "both"
    assert after.classes["both"].cascade_ids == ("far", "wide")
    assert set(after.classes) == {"near", "both"}


def test_the_place_and_the_measurements_of_a_model_may_differ(running: Catalog) -> None:
    text = FURTHER.replace("1 = 0.05", "1 = 0.06").replace(
        "num_inference_steps = 4", "num_inference_steps = 4\nload_s = 3.0"
    )
    assert "far" in activation_of(running, FILE, text, "").cascade


@pytest.mark.parametrize(
    ("text", "default", "says"),
    [
        ("nonsense", "", r"new\.toml: Expected"),
        (FURTHER.replace("slo_s = 3.0", "slo_s = 0"), "", r"new\.toml: cascade\.far\.slo_s"),
        (FURTHER, "near", r"new\.toml: no cascade 'near' to make the default; there is far"),
        (
            FURTHER.replace("mid", "other"),
            "",
            r"cascade\.far\.light: the running deployment has no 'other'; there is big, mid, tiny",
        ),
        (
            FURTHER.replace("scorer]", "judge]").replace('= "scorer"', '= "judge"'),
            "",
            r"cascade\.far\.discriminator: the running deployment has no 'judge'",
        ),
        (
            FURTHER.replace("num_inference_steps = 4", "num_inference_steps = 8"),
            "",
            r"variant\.mid\.num_inference_steps: is 8, but 4 in the running deployment",
        ),
        (
            FURTHER.replace('scorer = "mock"', 'scorer = "a:B"'),
            "",
            r"discriminator\.scorer\.scorer: is 'a:B', but 'mock'",
        ),
        (
            RUNNING.replace("slo_s = 2.0", "slo_s = 4.0"),
            "",
            r"cascade\.near\.slo_s: is 4\.0, but 2\.0 .* needs a new name",
        ),
        (
            RUNNING.replace("0.9]", "0.95]"),
            "",
            r"cascade\.near\.quality: differs .* needs a new name",
        ),
        (
            f'default_cascade = "far"\n{TINY}{MID}{BIG}{SCORER}{NEAR}'
            + FAR.replace("3.0", "2.0")
            + '[class.both]\ncascades = ["far", "near"]\n',
            "",
            r"class\.both\.cascades: 'near' is in a class of the running deployment already",
        ),
    ],
)
def test_what_does_not_fit_is_refused_with_file_and_field(
    running: Catalog, text: str, default: str, says: str
) -> None:
    with pytest.raises(ConfigError, match=says):
        activation_of(running, FILE, text, default)


def test_what_was_activated_must_still_fit_the_file_of_a_restart(
    running: Catalog, tmp_path: Path
) -> None:
    activation = activation_of(running, FILE, FURTHER, "")
    path = tmp_path / "less.toml"
    path.write_text(RUNNING.replace(BIG, ""))
    with pytest.raises(ConfigError, match=r"cascade\.far\.heavy: .* no 'big'"):
        extended(load_catalog(str(path)), activation)
    path.write_text(RUNNING + FAR.replace("3.0", "5.0"))
    # The operator has put it into the file since: that holds.
    assert extended(load_catalog(str(path)), activation).cascades["far"].slo_s == 5.0


def test_a_cap_comes_with_its_cascade_and_stays_with_the_name(running: Catalog) -> None:
    capped = FURTHER.replace("slo_s = 3.0", "slo_s = 3.0\ndeferral_max = 0.24")
    activation = activation_of(running, FILE, capped, "")
    after = extended(running, Activation.from_json(activation.to_json()))
    assert after.cascades["far"].deferral_max == 0.24
    with pytest.raises(ConfigError, match=r"cascade\.far\.deferral_max: is 1\.0, but 0\.24"):
        activation_of(after, FILE, FURTHER, "")
