"""Files are tried before the run that fills them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from diffserve.cli.output import CliError
from diffserve.cli.writing import check_new, check_writable, make_folder


def test_a_file_that_can_be_written_is_as_it_was(tmp_path: Path) -> None:
    check_writable("--log", "")
    check_writable("--log", str(tmp_path / "new.csv"))
    assert not list(tmp_path.iterdir())
    old = tmp_path / "old.csv"
    old.write_text("a,b\n")
    check_writable("--log", str(old))
    assert old.read_text() == "a,b\n"


def test_a_file_in_a_folder_that_will_be_made(tmp_path: Path) -> None:
    check_new("--output", tmp_path / "a" / "b" / "owl.png")
    check_new("--output", tmp_path / "owl.png")
    assert not list(tmp_path.iterdir())
    (tmp_path / "a").write_text("")
    with pytest.raises(CliError, match=r"^--output: .*/a is not a folder$"):
        check_new("--output", tmp_path / "a" / "b" / "owl.png")
    with pytest.raises(CliError, match="cannot write"):
        check_new("--output", tmp_path / "a" / "owl.png")


def test_a_link_to_nothing_stays(tmp_path: Path) -> None:
    link = tmp_path / "link.csv"
    link.symlink_to(tmp_path / "absent.csv")
    check_writable("--log", str(link))
    assert list(tmp_path.iterdir()) == [link]


def test_pipes_are_not_opened(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    check_writable("--log", str(path))
    check_writable("--log", "/dev/null")


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("no/log.csv", "No such file or directory"),
        (".", "Is a directory"),
        ("file/log.csv", "Not a directory"),
        ("x" * 300, "File name too long"),
    ],
)
def test_what_cannot_be_written_is_one_sentence(tmp_path: Path, name: str, why: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(CliError, match=f"^--log: cannot write .*: {why}$"):
        check_writable("--log", str(tmp_path / name))


def test_folders_are_made_and_left_empty(tmp_path: Path) -> None:
    out = tmp_path / "a" / "b"
    make_folder("--out", out)
    make_folder("--out", str(out))
    assert not list(out.iterdir())
    with pytest.raises(CliError, match=r"^--out: cannot write /proc/nowhere: No such file"):
        make_folder("--out", "/proc/nowhere")
