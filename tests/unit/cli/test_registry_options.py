"""Options of a build from a registry: wrong ones are named before anything is drawn."""

from __future__ import annotations

import inspect
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from diffserve.building.choice import QUALITY_KEPT
from diffserve.cli.cascades import cascade_build
from diffserve.cli.main import app
from diffserve.cli.options import FEATURES, JUDGE
from diffserve.cli.output import CliError
from diffserve.cli.registry_options import RegistryOptions, name_of
from diffserve.errors import ConfigError
from diffserve.registry import SHIPPED


def options(**changes: Any) -> RegistryOptions:
    known = {
        "out": Path("out"),
        "registries": ("sd-turbo",),
        "variants": (),
        "prompts_file": None,
        "judge": JUDGE,
        "features": FEATURES,
        "device": "cpu",
        "batch_sizes": "1,2,4",
        "budget_s": 60.0,
        "quality_kept": QUALITY_KEPT,
    }
    return RegistryOptions(**{**known, **changes})


def test_registries_are_taken_together() -> None:
    chosen = options(registries=("sd-turbo", "sdxs")).chosen_variants()
    assert list(chosen) == ["sd-turbo", "sd-v1-5", "sd-v1-5-cached", "sd-v1-5-25", "sdxs"]
    assert list(options(variants=("sd-v1-5", "sd-turbo")).chosen_variants()) == [
        "sd-turbo",
        "sd-v1-5",
    ]


def test_registries_that_contradict_each_other_are_named(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    text = (SHIPPED / "sdxs.toml").read_text()
    path.write_text(text.replace("guidance_scale = 7.5", "guidance_scale = 5.0"))
    with pytest.raises(CliError, match=r"mine.toml has another variant 'sd-v1-5'"):
        options(registries=("sdxs", str(path))).chosen_variants()


def test_bases_that_contradict_each_other_are_named(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    text = (SHIPPED / "sdxs.toml").read_text().replace("[variant.sd-v1-5]", "[variant.other]")
    path.write_text(text.replace("stable-diffusion-v1-5/", "somebody/"))
    with pytest.raises(
        ConfigError, match=r"variant\.other\.base: 'sd-v1-5' is that of sd-v1-5 too"
    ):
        options(registries=("sdxs", str(path))).chosen_variants()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"variants": ("nobody", "sd-v1-5")},
            "--variants: no variant 'nobody'; there are sd",
        ),
        ({"variants": ("sd-v1-5",)}, "--variants: a cascade takes two"),
    ],
)
def test_wrong_variants_are_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(CliError, match=message):
        options(**changes).chosen_variants()


def test_a_registry_that_is_not_there_is_named() -> None:
    with pytest.raises(ConfigError, match=r"no file .*nobody.toml; shipped registries: "):
        options(registries=("nobody",)).chosen_variants()


def test_prompts_come_from_the_file(tmp_path: Path) -> None:
    assert len(options().prompts()) == 200
    path = tmp_path / "mine.txt"
    path.write_text("an owl\n")
    assert options(prompts_file=path).prompts() == ["an owl"]
    with pytest.raises(CliError, match=r"^--prompts-file: .*nowhere"):
        options(prompts_file=tmp_path / "nowhere").prompts()


@pytest.mark.parametrize("sizes", ["", "2,4", "1,4,2", "1,1", "1,x", "1,,2"])
def test_batch_sizes_rise_from_one(sizes: str) -> None:
    assert options().sizes() == (1, 2, 4)
    with pytest.raises(CliError, match=r"^--batch-sizes: "):
        options(batch_sizes=sizes).sizes()


def test_the_command_names_no_folders(tmp_path: Path) -> None:
    judge = tmp_path / "my-judge"
    judge.mkdir()
    said = options(
        registries=(str(tmp_path / "mine.toml"),),
        prompts_file=tmp_path / "p.txt",
        judge=str(judge),
        quality_kept=0.9,
    ).command()
    assert said == (
        "diffserve cascade build --registry mine.toml --prompts-file p.txt --judge my-judge "
        "--device cpu --batch-sizes 1,2,4 --quality-kept 0.9"
    )
    assert name_of("owner/name") == "owner/name"


def test_the_judge_does_not_grade_itself() -> None:
    asked = inspect.signature(cascade_build).parameters
    assert asked["judge"].default != asked["features"].default


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--judge", "a/b"], "--judge needs --registry"),
        (["--prompts-file", "p.txt"], "--prompts-file needs --registry"),
        (["--device", "cpu"], "--device needs --registry"),
        (["--registry", "sdxs", "--weights", "w"], "--weights are those of embedded variants"),
    ],
)
def test_options_of_the_other_build_are_refused(arguments: list[str], message: str) -> None:
    with pytest.raises(CliError, match=message):
        CliRunner().invoke(app, ["cascade", "build", *arguments], catch_exceptions=False)


def test_without_torch_it_says_what_to_install() -> None:
    code = (
        "import sys; sys.modules['torch'] = None; sys.argv[1:] = ['cascade', 'build', "
        "'--registry', 'sdxs']; from diffserve.cli.main import main; main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "diffserve: --registry needs torch: pip install 'diffserve[models]'" in done.stderr
