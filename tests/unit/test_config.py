"""Settings: precedence, and one line naming the field for whatever is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from diffserve.config import (
    SECTIONS,
    ControllerSettings,
    LoadBalancerSettings,
    SharedSettings,
    UpSettings,
    WorkerSettings,
    load_settings,
    settings_from_argv,
)
from diffserve.errors import ConfigError


def toml_file(directory: Path, text: str) -> dict[str, str]:
    path = directory / "diffserve.toml"
    path.write_text(text)
    return {"DIFFSERVE_CONFIG": str(path)}


def test_defaults_are_the_documented_ports() -> None:
    assert load_settings(LoadBalancerSettings, environ={}).port == 50051
    assert load_settings(ControllerSettings, environ={}).port == 50050


def test_flags_beat_environment_beats_file_beats_defaults(tmp_path: Path) -> None:
    environ = toml_file(tmp_path, "[worker]\nport = 1\n")
    assert load_settings(WorkerSettings, environ=environ).port == 1
    environ["DIFFSERVE_WORKER_PORT"] = "2"
    assert load_settings(WorkerSettings, environ=environ).port == 2
    assert load_settings(WorkerSettings, environ=environ, flags={"port": 3}).port == 3
    argv = ["--port", "4"]
    assert settings_from_argv(WorkerSettings, argv, environ).port == 4


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["--foo"], "--foo: there is no such flag; --help lists them"),
        (["--port", "1", "--foo", "3"], "--foo: there is no such flag; --help lists them"),
        (["stray"], "stray: there is no such flag; --help lists them"),
        (["--port"], "argument --port: expected one argument"),
        (["--log", "x"], "ambiguous option: --log could match --log-level, --log-format"),
    ],
)
def test_a_flag_that_there_is_not_is_a_line(
    argv: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ConfigError) as caught:
        settings_from_argv(WorkerSettings, argv, {})
    assert str(caught.value) == said
    assert capsys.readouterr() == ("", "")


def test_service_table_beats_shared_table(tmp_path: Path) -> None:
    environ = toml_file(tmp_path, "[shared]\nlog_level='debug'\n[worker]\nlog_level='error'\n")
    assert load_settings(WorkerSettings, environ=environ).log_level == "error"
    assert load_settings(ControllerSettings, environ=environ).log_level == "debug"


def test_shared_variable_needs_no_service_name() -> None:
    environ = {"DIFFSERVE_REDIS_URL": "redis://elsewhere:1/0"}
    for section in SECTIONS.values():
        assert load_settings(section, environ=environ).redis_url == "redis://elsewhere:1/0"


def test_other_services_variables_are_no_error_and_have_no_effect() -> None:
    environ = {"DIFFSERVE_WORKER_PORT": "1", "PATH": "/bin"}
    assert load_settings(ControllerSettings, environ=environ).port == 50050


@pytest.mark.parametrize("section", sorted(SECTIONS))
def test_every_field_has_a_description_and_a_flag(section: str) -> None:
    model = SECTIONS[section]
    for name, info in model.model_fields.items():
        assert info.description, name
        given = info.default if info.default != "" else ("info" if "log" in name else "x")
        flag = f"--{name.replace('_', '-')}={given}"
        assert name in settings_from_argv(model, [flag], {}).model_fields_set


@pytest.mark.parametrize(
    ("environ", "names"),
    [
        ({"DIFFSERVE_NOSUCH": "1"}, "DIFFSERVE_NOSUCH"),
        ({"DIFFSERVE_WORKER_NOSUCH": "1"}, "DIFFSERVE_WORKER_NOSUCH"),
        ({"DIFFSERVE_CONTROLLER_PORT": "many"}, "controller.port"),
        ({"DIFFSERVE_CONTROLLER_PORT": "65536"}, "controller.port"),
        ({"DIFFSERVE_CONTROLLER_PLANNING_PERIOD_S": "0"}, "controller.planning_period_s"),
        ({"DIFFSERVE_LOG_LEVEL": "loud"}, "controller.log_level"),
        ({"DIFFSERVE_CONTROLLER_SOLVER": "abacus"}, "controller.solver"),
        ({"DIFFSERVE_CONTROLLER_SOLVER_TIME_LIMIT_S": "9"}, "solver_time_limit_s"),
        ({"DIFFSERVE_CONFIG": "/no/such/file.toml"}, "/no/such/file.toml"),
    ],
)
def test_wrong_settings_are_one_line_naming_the_field(environ: dict[str, str], names: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_settings(ControllerSettings, environ=environ)
    assert names in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("[nosuch]\na = 1\n", "[nosuch]"),
        ("[worker]\nnosuch = 1\n", "worker.nosuch"),
        ("[shared]\nport = 1\n", "shared.port"),
        ("[worker\n", "diffserve.toml"),
    ],
)
def test_wrong_files_are_one_line_naming_the_table(tmp_path: Path, text: str, names: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_settings(UpSettings, environ=toml_file(tmp_path, text))
    assert names in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_no_text_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "diffserve.toml"
    path.write_bytes(b"[shared]\n\n\xff")
    with pytest.raises(ConfigError, match=r"diffserve\.toml:3: is no UTF-8"):
        load_settings(UpSettings, environ={"DIFFSERVE_CONFIG": str(path)})


def test_settings_are_frozen() -> None:
    settings: SharedSettings = load_settings(UpSettings, environ={})
    with pytest.raises(ValueError, match="frozen"):
        settings.host = "elsewhere"  # type: ignore[misc]
