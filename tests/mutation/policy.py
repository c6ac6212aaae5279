"""Mutation testing of the policy with mutmut: changes it a thousand ways, and sees whether a test notices.

Each module that was run is written to tests/mutation.json: how many mutants its tests killed, and every survivor as
"function: line -> changed line". A survivor is either a gap of the tests or changes nothing that a user could see;
tests/mutation_equivalents.toml says which, and why. Exit code 1: there are gaps.
"""

from __future__ import annotations

import ast
import datetime as dt
import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Container
from pathlib import Path

import tomllib

ROOT = Path(__file__).resolve().parents[2]
POLICY = ROOT / "agent" / "rlagent" / "policy"
STAGE = ROOT / "build" / "mutation"
REPORT = ROOT / "tests" / "mutation.json"
EQUIVALENTS = ROOT / "tests" / "mutation_equivalents.toml"
"""By module: survivor -> why no test can tell it from the original."""
SLOW = [f"tests/agent/test_{name}.py" for name in ("policy_oracle", "policy_properties", "recovery")]
LEFT_OUT = ["tests/agent/test_policy_goodput_suite.py"]
"""Whole simulated weeks: minutes for each mutant."""


def main(modules: list[str]) -> int:
    """Run it, module by module; returns 1 when a mutant survives that is not known to be equivalent."""
    everything = sorted(path.stem for path in POLICY.glob("*.py") if _has_code(path))
    for module in modules or everything:
        _keep(module, _judge(module))
    report = json.loads(REPORT.read_text())
    gaps = {name: found["gaps"] for name, found in report.items() if found["gaps"]}
    print(json.dumps(gaps, indent=1))
    missing = [module for module in everything if report.get(module, {}).get("source") != _source(module)]
    print(f"not run as they are now: {', '.join(missing) or 'none'}")
    return 1 if gaps else 0


def _judge(module: str) -> dict[str, object]:
    """Mutate one module and say what its tests made of it."""
    begin = time.monotonic()
    known = tomllib.loads(EQUIVALENTS.read_text()).get(module, {})
    quick = _quick_tests()
    _stage(module, quick)
    _run()
    results = _results()
    survivors = _survivors(results)
    doubtful = [name for name, change in survivors.items() if change not in known]
    if doubtful:
        # The slow tests are only asked about what the quick ones did not notice.
        _stage(module, [*quick, *SLOW])
        _run(*doubtful)
        left = _survivors(_results(), among=doubtful)
        survivors = {name: change for name, change in survivors.items() if change in known or name in left}
    changes = sorted(survivors.values())
    return {
        "source": _source(module),
        "date": dt.datetime.now(dt.UTC).date().isoformat(),
        "minutes": round((time.monotonic() - begin) / 60, 1),
        "mutants": len(results),
        "killed": len(results) - len(changes),
        "equivalent": {change: known[change] for change in changes if change in known},
        "gaps": [change for change in changes if change not in known],
    }


def _keep(module: str, found: dict[str, object]) -> None:
    report = json.loads(REPORT.read_text()) if REPORT.exists() else {}
    report[module] = found
    REPORT.write_text(json.dumps(dict(sorted(report.items())), indent=1, ensure_ascii=False) + "\n")


def _has_code(path: Path) -> bool:
    """Whether a module has functions: mutmut changes nothing else."""
    return any(isinstance(node, ast.FunctionDef) for node in ast.walk(ast.parse(path.read_text())))


def _quick_tests() -> list[str]:
    names = [path.name for path in sorted((ROOT / "tests" / "agent").glob("test_policy_*.py"))]
    files = [f"tests/agent/{name}" for name in (*names, "test_guard.py")]
    return [file for file in files if file not in SLOW + LEFT_OUT]


def _source(module: str) -> str:
    """Return what tells one text of a module from another."""
    return hashlib.sha256((POLICY / f"{module}.py").read_bytes()).hexdigest()[:16]


def _stage(module: str, tests: list[str]) -> None:
    """Lay the agent out as mutmut expects it: the package at the top."""
    shutil.rmtree(STAGE, ignore_errors=True)
    STAGE.mkdir(parents=True)
    skip = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "agent" / "rlagent", STAGE / "rlagent", ignore=skip)
    shutil.copytree(ROOT / "tests", STAGE / "tests", ignore=skip)
    (STAGE / "pyproject.toml").write_text(
        f"""[tool.mutmut]
source_paths = ["rlagent"]
only_mutate = ["rlagent/policy/{module}.py"]
pytest_add_cli_args_test_selection = {json.dumps(tests)}
pytest_add_cli_args = ["-x", "-q"]

[tool.pytest.ini_options]
pythonpath = [".", "tests"]
addopts = "--import-mode=importlib"
markers = ["slow: ", "lab: "]
"""
    )


def _run(*mutants: str) -> None:
    """Try these mutants, or all."""
    _mutmut("run", "--max-children", os.environ.get("MUTATION_CHILDREN", str(os.cpu_count())), *mutants)


def _survivors(results: dict[str, str], among: Container[str] | None = None) -> dict[str, str]:
    """Return each mutant that no test noticed, with its change."""
    alive = [name for name, status in results.items() if status not in ("killed", "caught by type check")]
    return {name: _change(name) for name in alive if among is None or name in among}


def _results() -> dict[str, str]:
    pairs = (line.strip().rpartition(": ") for line in _mutmut("results", "--all", "true").splitlines() if ": " in line)
    return {name: status for name, _, status in pairs}


def _change(name: str) -> str:
    """Return a mutant as its function and its changed lines: its number means nothing after the next edit."""
    lines = _mutmut("show", name).splitlines()
    old = " ".join(line[1:].strip() for line in lines if line.startswith("-") and not line.startswith("---"))
    new = " ".join(line[1:].strip() for line in lines if line.startswith("+") and not line.startswith("+++"))
    function = name.rpartition("__mutmut_")[0].rpartition(".")[2].removeprefix("x_")
    return f"{function}: {old} -> {new}"


def _mutmut(*arguments: str) -> str:
    command = [sys.executable, "-m", "mutmut", *arguments]
    # What a run says is for whoever waits; what the other verbs say is for us.
    out = None if arguments[0] == "run" else subprocess.PIPE
    return subprocess.run(command, cwd=STAGE, check=True, stdout=out, text=True).stdout or ""


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
