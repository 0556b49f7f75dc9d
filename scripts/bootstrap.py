"""Makes `.venv` with everything that DiffServe needs, or leaves it alone when nothing changed.

Standard library only. Run by `make setup`; safe to run again at any time. On a machine without an
NVIDIA GPU torch comes as a CPU build, 200 MB instead of 3 GB: a local one where pip is configured
with such a file, else from PyTorch's own index. TORCH_INDEX_URL overrides that index.
"""

from __future__ import annotations

import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
STAMP = VENV / "diffserve-setup.txt"
LOG = ROOT / "build" / "setup.log"
CONSTRAINTS = ROOT / "requirements" / "constraints.txt"
EXTRAS = "models,evaluate,controller,gurobi,docker,redis-server,http,bench,tracing,reproduce,dev"
CPU_INDEX = "https://download.pytorch.org/whl/cpu"
UNUSED = "/(tests?|testing)/"
OLDEST = (3, 11)
OTHER_PYTHONS = ("python3.13", "python3.12", "python3.11", "python3.14")


def main() -> int:
    """Install, unless the stamp says that nothing changed since."""
    if sys.version_info < OLDEST:
        run_newer_python()
    wanted = fingerprint()
    found = STAMP.read_text() if STAMP.exists() else ""
    if found == wanted and PYTHON.exists():
        return 0
    started_s = time.monotonic()
    LOG.parent.mkdir(exist_ok=True)
    LOG.write_text("")
    print(f"setting up {VENV} with Python {platform.python_version()}", flush=True)
    # An environment of another Python, or one that was left half made, is not worth mending.
    is_usable = PYTHON.exists() and found.split("\n")[0] == platform.python_version()
    make = [sys.executable, "-m", "venv", "--clear", str(VENV)]
    if not is_usable and not run_step("environment", make):
        return explain_failure()
    STAMP.unlink(missing_ok=True)
    if not install_torch():
        return explain_failure()
    if not pip_install("packages", "-c", str(CONSTRAINTS), "-e", f"{ROOT}[{EXTRAS}]"):
        return explain_failure()
    # pip would compile on one core; a file that does not compile is one that nobody imports.
    run_step("bytecode", [str(PYTHON), "-m", "compileall", "-q", "-j0", "-x", UNUSED, str(VENV)])
    STAMP.write_text(wanted)
    took_s = time.monotonic() - started_s
    print(f"set up in {took_s:.0f} s: {num_installed()} packages", flush=True)
    return 0


def run_newer_python() -> None:
    """Go on with a Python on PATH that is new enough, or explain."""
    for name in OTHER_PYTHONS:
        path = shutil.which(name)
        # A version manager may put a name on PATH without the version behind it.
        if path and subprocess.run([path, "--version"], capture_output=True).returncode == 0:
            os.execv(path, [path, *sys.argv])
    sys.exit(
        f"DiffServe needs Python 3.11 or newer; {sys.executable} is {platform.python_version()}. "
        "Install one, or name it: make PYTHON=/path/to/python3.11 ..."
    )


def fingerprint() -> str:
    """Return what an installation depends on; the Python version comes first."""
    digest = hashlib.sha256()
    for path in (ROOT / "pyproject.toml", CONSTRAINTS, Path(__file__)):
        digest.update(path.read_bytes())
    return "\n".join([platform.python_version(), digest.hexdigest(), torch_index(), str(ROOT)])


def torch_index() -> str:
    """Return the index that torch comes from; empty means the ordinary one."""
    if "TORCH_INDEX_URL" in os.environ:
        return os.environ["TORCH_INDEX_URL"]
    has_gpu = Path("/proc/driver/nvidia/version").exists() or shutil.which("nvidia-smi")
    # Elsewhere than on Linux the ordinary wheel has no CUDA.
    return CPU_INDEX if sys.platform == "linux" and not has_gpu else ""


def install_torch() -> bool:
    """Install torch before the rest, so that nothing else picks a CUDA build."""
    pinned = re.search(r"^torch==\S+$", CONSTRAINTS.read_text(), re.MULTILINE)
    assert pinned is not None, "constraints.txt pins torch"
    index = torch_index()
    # PyPI holds no local versions such as 2.13.0+cpu: where pip finds one, it was offered by a
    # directory or index that this machine is configured with, and where not, it says so at once.
    if index == CPU_INDEX and pip_install(
        "torch, local CPU build", "--no-deps", f"{pinned[0]}+cpu"
    ):
        return True
    source = ["--index-url", index] if index else []
    return pip_install(f"torch from {index or 'PyPI'}", *source, "--no-deps", pinned[0])


def pip_install(what: str, *arguments: str) -> bool:
    """Run pip; return whether it succeeded."""
    options = ["--disable-pip-version-check", "--progress-bar", "off", "--no-compile"]
    return run_step(what, [str(PYTHON), "-m", "pip", "install", *options, *arguments])


def run_step(what: str, command: list[str]) -> bool:
    """Run a command with its output in the log, show that it goes on; return its success."""
    on_terminal = sys.stdout.isatty()
    started_s = time.monotonic()
    num_before = num_installed()
    with LOG.open("a") as log:
        begin = log.tell()
        process = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=subprocess.STDOUT)
    while process.poll() is None:
        try:
            process.wait(timeout=0.5 if on_terminal else 10.0)
        except subprocess.TimeoutExpired:
            text = f"  {what}: {time.monotonic() - started_s:.0f} s, {pip_phase(begin, num_before)}"
            print(f"\r\033[K{text[:100]}" if on_terminal else text, end="" if on_terminal else "\n")
            sys.stdout.flush()
    result = "done" if process.returncode == 0 else "did not work"
    text = f"  {what}: {result} in {time.monotonic() - started_s:.0f} s"
    print(f"\r\033[K{text}" if on_terminal else text, flush=True)
    return process.returncode == 0


def pip_phase(begin: int, num_before: int) -> str:
    """Return what pip is doing, from its output since ``begin`` and from what is in place."""
    lines = LOG.read_text(errors="replace")[begin:].splitlines()
    collected = sum(line.startswith("Collecting ") for line in lines)
    for line in reversed(lines):
        if line.startswith("Installing collected packages:"):
            total = line.count(",") + 1
            return f"unpacked {num_installed() - num_before} of {total} packages"
        if line.strip().startswith(("Downloading ", "Processing ")):
            return f"{collected} packages found, fetching {line.split()[1].rsplit('/')[-1]}"
    return "working"


def num_installed() -> int:
    """Return how many packages the environment holds."""
    return sum(1 for _ in VENV.glob("lib/*/site-packages/*.dist-info"))


def explain_failure() -> int:
    """Show the end of the log; return the exit status."""
    tail = LOG.read_text(errors="replace").strip().splitlines()[-12:]
    print("\n".join(["", *tail, "", f"set-up failed; the whole log is {LOG}"]), file=sys.stderr)
    return 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
