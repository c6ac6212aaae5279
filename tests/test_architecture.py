"""The import rules and sizes of the architecture, checked by an ordinary test."""

from __future__ import annotations

import ast
import statistics
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = (ROOT / "agent" / "rlagent", ROOT / "agent" / "rltrainer", ROOT / "ctl" / "rlctl")
MODULES = sorted(path for package in PACKAGES for path in package.rglob("*.py"))
PURE = {"os", "time", "random", "subprocess", "socket", "asyncio", "threading", "pathlib", "datetime", "sqlite3", "io"}
HEAVY = {"torch", "numpy", "gymnasium", "ale_py", "tensorboard"}


def imports(path: Path) -> set[str]:
    """Return the dotted names a module imports, wherever in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def tops(path: Path) -> set[str]:
    return {name.partition(".")[0] for name in imports(path)}


def relative(paths: list[Path]) -> list[str]:
    return [str(path.relative_to(ROOT)) for path in paths]


def test_the_policy_touches_nothing_of_the_outside_world():
    assert relative([p for p in MODULES if "policy" in p.parts and tops(p) & PURE]) == []


def test_policy_and_protocol_do_not_know_each_other():
    for inside, other in (("policy", "rlagent.protocol"), ("protocol", "rlagent.policy")):
        assert [p for p in MODULES if inside in p.parts and any(n.startswith(other) for n in imports(p))] == []


def test_the_simulation_has_chance_but_nothing_else_of_the_outside_world():
    assert relative([p for p in MODULES if "simulation" in p.parts and tops(p) & (PURE - {"random"})]) == []


def test_rlctl_and_rltrain_know_only_the_protocol_of_the_agent_and_rlctl_its_simulation():
    def strangers(path: Path) -> set[str]:
        known = ("rlagent.protocol", "rlagent.simulation") if "rlctl" in path.parts else ("rlagent.protocol",)
        return {n for n in imports(path) if n.startswith("rlagent.") and not n.startswith(known)}

    outside = [p for p in MODULES if "rlctl" in p.parts or "rltrainer" in p.parts]
    assert {str(p.relative_to(ROOT)): strangers(p) for p in outside if strangers(p)} == {}


def test_heavy_libraries_only_in_the_trainer():
    assert relative([p for p in MODULES if "rltrainer" not in p.parts and tops(p) & HEAVY]) == []


@pytest.mark.parametrize(("library", "home"), [("fabric", "remote.py"), ("rich", "render.py")])
def test_one_home_for(library, home):
    assert [p.name for p in MODULES if "rlctl" in p.parts and library in tops(p)] in ([home], [])


def test_modules_and_functions_keep_their_sizes():
    lines = {str(p.relative_to(ROOT)): len(p.read_text().splitlines()) for p in MODULES}
    assert {name: n for name, n in lines.items() if n > 500} == {}
    assert statistics.median(lines.values()) < 150
    long_functions = {
        f"{path.relative_to(ROOT)}:{node.name}": node.end_lineno - node.lineno + 1
        for path in MODULES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno - node.lineno + 1 > 70
    }
    assert long_functions == {}


def test_the_agent_loads_no_heavy_library():
    """What is really imported, not only what is written."""
    code = "import sys, rlagent.daemon; print(sorted(set(sys.modules) & %r))" % (HEAVY | {"asyncio", "fabric", "rich"})
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
