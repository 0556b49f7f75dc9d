"""Generate the committed protobuf stubs, or check that they are up to date.

The generator is pinned and lives in its own virtual environment under ``build/``: stubs made by
grpcio-tools 1.76.0 run on every grpcio >= 1.76 and protobuf >= 6.33, while the project itself is
tested on newer ones, which cannot share an environment with that generator.
"""

from __future__ import annotations

import argparse
import filecmp
import shutil
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PROTOS = ROOT / "protos"
PACKAGE = Path("diffserve/rpc/v1")
TOOLS = ["grpcio-tools==1.76.0", "mypy-protobuf==5.1.0", "setuptools<81"]
TOOL_ENV = ROOT / "build" / "protos-venv"


def tool_python() -> Path:
    """Return the interpreter of the generator's environment, made when it is missing."""
    python = TOOL_ENV / "bin" / "python"
    stamp = TOOL_ENV / "installed.txt"
    if not stamp.exists() or stamp.read_text() != "\n".join(TOOLS):
        print("installing the pinned stub generator, once", flush=True)
        venv.create(TOOL_ENV, with_pip=True, clear=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", "--quiet", *TOOLS], check=True)
        stamp.write_text("\n".join(TOOLS))
    return python


def generate(out: Path) -> None:
    """Write the stubs of every proto below ``out``."""
    sources = sorted(str(p.relative_to(PROTOS)) for p in (PROTOS / PACKAGE).glob("*.proto"))
    command = [tool_python(), "-m", "grpc_tools.protoc", f"-I{PROTOS}"]
    for plugin in ("python", "grpc_python", "mypy", "mypy_grpc"):
        command.append(f"--{plugin}_out={out}")
    environment = {"PATH": f"{TOOL_ENV / 'bin'}:/usr/bin:/bin"}
    done = subprocess.run(
        [*map(str, command), *sources], env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(done.stderr)
    (out / PACKAGE / "__init__.py").write_text('"""Generated from protos/; see scripts/."""\n')


def main() -> int:
    """Generate in place, or with ``--check`` report drift by exit status 1."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="compare, do not write")
    check = parser.parse_args().check
    with tempfile.TemporaryDirectory() as directory:
        fresh = Path(directory)
        generate(fresh)
        target = ROOT / PACKAGE
        if not check:
            shutil.rmtree(target, ignore_errors=True)
            shutil.copytree(fresh / PACKAGE, target)
            return 0
        names = sorted({p.name for d in (fresh / PACKAGE, target) for p in d.glob("*.py*")})
        _, differing, missing = filecmp.cmpfiles(fresh / PACKAGE, target, names, shallow=False)
        for name in [*differing, *missing]:
            print(f"{PACKAGE / name} differs from its proto; run `make protos`")
        return 1 if differing or missing else 0


if __name__ == "__main__":
    sys.exit(main())
