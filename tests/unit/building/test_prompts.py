"""Files of prompts: what is one, which order and seed it gets, and which mistakes are named."""

from __future__ import annotations

from pathlib import Path

import pytest

from diffserve.building.prompts import SHIPPED_PROMPTS, read_prompts, seed_of, shuffled
from diffserve.errors import ConfigError


def test_blank_lines_and_comments_are_no_prompts(tmp_path: Path) -> None:
    path = tmp_path / "prompts.txt"
    path.write_text("# ours\n\n  an owl \n\t\n#another\na cat, # 2\nein Bär\n", encoding="utf-8")
    assert read_prompts(path) == ["an owl", "a cat, # 2", "ein Bär"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"an owl\n\na cat\nan owl\n", r"prompts\.txt:4: is the same as line 1"),
        (b"an owl\n" + b"x" * 4097, r"prompts\.txt:2: is longer than 4096 bytes"),
        (b"an owl\na cat\n\xff\n", r"prompts\.txt:3: is no UTF-8"),
    ],
)
def test_mistakes_are_named_with_their_line(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "prompts.txt"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=message):
        read_prompts(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.txt: No such file"):
        read_prompts(tmp_path / "nowhere.txt")


def test_the_shipped_prompts_are_many_and_short() -> None:
    prompts = read_prompts(SHIPPED_PROMPTS)
    assert len(prompts) == 200
    assert all(len(prompt.split()) <= 20 for prompt in prompts), "no text encoder cuts them"


def test_the_order_does_not_depend_on_the_file() -> None:
    prompts = read_prompts(SHIPPED_PROMPTS)
    assert shuffled(prompts) == shuffled(prompts[::-1]) != prompts
    without = [prompt for prompt in shuffled(prompts) if prompt != prompts[7]]
    assert shuffled([prompt for prompt in prompts if prompt != prompts[7]]) == without


def test_every_prompt_has_a_seed_of_its_own() -> None:
    prompts = read_prompts(SHIPPED_PROMPTS)
    seeds = {seed_of(prompt) for prompt in prompts}
    assert len(seeds) == len(prompts)
    assert all(0 <= seed < 2**32 for seed in seeds)
    assert seed_of("an owl") == seed_of("an owl")
