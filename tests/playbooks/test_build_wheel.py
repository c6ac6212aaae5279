"""The controller's wheel: reproducible, kept by content, and the source of the trainer's requirements."""

import json
import subprocess
import sys
import zipfile

from playbook_runs import CHECKOUT, PLAYBOOKS, load

SCRIPT = PLAYBOOKS / "roles/wheel/files/build_wheel.py"
build_wheel = load("roles/wheel/files/build_wheel.py")


def run(*arguments):
    return subprocess.run(
        [sys.executable, SCRIPT, *map(str, arguments)], capture_output=True, text=True, check=False, cwd="/"
    )


def test_same_sources_give_the_same_release_and_a_changed_one_another(project, tmp_path):
    first = json.loads(run("--project", project, "--cache", tmp_path / "a").stdout)
    second = json.loads(run("--project", project, "--cache", tmp_path / "b").stdout)
    assert first["release"] == second["release"]
    assert first["sha256"] == second["sha256"]

    (project / "agent/rlagent/__init__.py").open("a").write("\n# changed\n")
    third = json.loads(run("--project", project, "--cache", tmp_path / "a").stdout)
    assert first["version"] == third["version"]
    assert first["release"] != third["release"]
    assert sorted(p.name for p in (tmp_path / "a").iterdir()) == sorted([first["sha256"][:8], third["sha256"][:8]])


def test_a_given_wheel_is_described_and_not_built(project, tmp_path):
    built = json.loads(run("--project", project, "--cache", tmp_path / "a").stdout)
    given = run("--project", tmp_path / "nowhere", "--cache", tmp_path / "b", "--wheel", built["path"])
    assert built == json.loads(given.stdout)
    assert not (tmp_path / "b").exists()


def test_what_is_no_wheel_of_rlfleet_is_one_error(tmp_path):
    other = tmp_path / "other-1.0-py3-none-any.whl"
    with zipfile.ZipFile(other, "w") as archive:
        archive.writestr("other-1.0.dist-info/METADATA", "Version: 1.0\n")
    for wheel in (other, tmp_path / "missing.whl"):
        result = run("--project", CHECKOUT, "--cache", tmp_path / "cache", "--wheel", wheel)
        assert (result.returncode, result.stdout) == (2, "")
        assert result.stderr.startswith(f"{wheel}: no wheel of rlfleet (")
        assert result.stderr.count("\n") == 1


def test_a_project_that_does_not_build_is_one_error_with_the_builders_words(tmp_path):
    (tmp_path / "pyproject.toml").write_text("[project]\n")
    result = run("--project", tmp_path, "--cache", tmp_path / "cache")
    assert result.returncode == 2
    assert result.stderr.startswith(f"{tmp_path}: building the wheel failed: ")
    assert "Next step:" in result.stderr


def test_requirements_are_the_plain_ones_and_those_of_the_extra():
    lines = [
        "msgspec>=0.19",
        "tomli>=2.0; (python_version < '3.11') and extra == 'agent'",
        "torch>=2.6; extra == 'trainer'",
        'numpy<2.3,>=2.0; (python_version < "3.11") and extra == "trainer"',
        "colorama; sys_platform == 'win32'",
    ]
    expected = [
        "colorama; sys_platform == 'win32'",
        'numpy<2.3,>=2.0; (python_version < "3.11")',
        "msgspec>=0.19",
        "torch>=2.6",
    ]
    assert sorted(expected) == build_wheel.requirements(lines, "trainer")
    assert "tomli>=2.0; (python_version < '3.11')" in build_wheel.requirements(lines, "agent")
    assert "torch>=2.6" not in build_wheel.requirements(lines, "agent")
