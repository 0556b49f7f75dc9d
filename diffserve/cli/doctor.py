"""``diffserve doctor``: what this machine has, what is missing, how to mend it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from diffserve.cli import checks_deployment, checks_machine
from diffserve.cli.findings import Finding, Level
from diffserve.cli.output import emit_json, stdout

CHECKS: tuple[Callable[[], Iterator[Finding]], ...] = (
    checks_machine.check_python,
    checks_machine.check_packages,
    checks_deployment.check_settings,
    checks_machine.check_redis,
    checks_machine.check_solvers,
    checks_machine.check_devices,
    checks_deployment.check_catalog,
    checks_deployment.check_services,
)
STYLES = {Level.OK: "green", Level.WARN: "yellow", Level.FAIL: "bold red"}


def run_doctor(*, as_json: bool) -> int:
    """Run every check and print what was found; return 1 when one failed."""
    findings: list[Finding] = []
    for check in CHECKS:
        for finding in check():
            findings.append(finding)
            if not as_json:
                _print(finding)
    failed = any(finding.level is Level.FAIL for finding in findings)
    if as_json:
        rows = [
            {"check": f.check, "level": f.level, "detail": f.detail, "remedy": f.remedy}
            for f in findings
        ]
        emit_json({"ok": not failed, "findings": rows})
    return int(failed)


def _print(finding: Finding) -> None:
    """Print one finding on one line, so that paths stay whole, and its remedy below."""
    console = stdout()
    console.print(f"{finding.level:5}", style=STYLES[finding.level], end="")
    console.print(f"{finding.check:10}{finding.detail}", soft_wrap=True)
    if finding.remedy:
        console.print(f"{'':15}-> {finding.remedy}", soft_wrap=True)
