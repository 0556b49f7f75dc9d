"""What `diffserve up` proposes to try."""

from __future__ import annotations

import shlex

import pytest

from diffserve.catalog import load_catalog
from diffserve.cli.fleet import Fleet
from diffserve.cli.up import ANY_PROMPT, _first_command


@pytest.mark.parametrize("catalog", ["embedded", "mock"])
def test_the_first_prompt_is_one_of_the_catalog_that_is_served(catalog: str) -> None:
    fleet = Fleet(
        stages=(),
        redis_url="",
        loadbalancer="127.0.0.1:7",
        http="",
        controller="",
        catalog=catalog,
    )
    words = shlex.split(_first_command(fleet))
    texts = [example.text for example in load_catalog(catalog).examples] or [ANY_PROMPT]
    assert words[1:] == ["generate", texts[0], "-o", "image.png", "--address", "127.0.0.1:7"]
