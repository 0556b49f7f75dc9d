"""Print what the library and the named extras depend on, one requirement a line.

Container images install these before any code is copied, so that a change of code reuses the
layer of installed packages: ``python list_dependencies.py pyproject.toml models``.
"""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path


def main(pyproject: str, *extras: str) -> None:
    """Print the requirements; an unknown extra is an error."""
    project = tomllib.loads(Path(pyproject).read_text(encoding="utf-8"))["project"]
    for requirement in project["dependencies"]:
        print(requirement)
    for extra in extras:
        for requirement in project["optional-dependencies"][extra]:
            print(requirement)


if __name__ == "__main__":
    main(*sys.argv[1:])
