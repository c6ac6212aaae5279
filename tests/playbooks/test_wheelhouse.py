"""The controller's wheelhouse: what hosts of another Python need, gathered once and then without any network."""

import json
import os
import subprocess
import sys
import tarfile

import pytest

from playbook_runs import PLAYBOOKS, load

SCRIPT = PLAYBOOKS / "roles/wheelhouse/files/wheelhouse.py"
wheelhouse = load("roles/wheelhouse/files/wheelhouse.py")
WANTED = ["tomli-w", "tomli; python_version < '3.11'", "msgspec"]


def words(cache, python):
    return ["--cache", str(cache), "--python", python, "--machine=x86_64", "--glibc=2.36"]


def run(cache, python, *requirements, **environment):
    return subprocess.run(
        [sys.executable, SCRIPT, *words(cache, python), *requirements],
        capture_output=True,
        text=True,
        check=False,
        timeout=400,
        env={**os.environ, **environment},
    )


def downloaded(cache, python, *requirements):
    """Run it, once more where the registry could not be reached."""
    done = run(cache, python, *requirements)
    return done if done.returncode == 0 else run(cache, python, *requirements)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_each_python_gets_its_own_wheels_with_markers_as_it_sees_them(tmp_path):
    packs = {}
    for python in ("3.10", "3.13"):
        done = downloaded(tmp_path, python, *WANTED)
        assert done.returncode == 0, done.stderr
        packs[python] = json.loads(done.stdout)
    names = {python: sorted(line.split("-")[0] for line in pack["lock"]) for python, pack in packs.items()}
    assert names == {"3.10": ["msgspec", "tomli", "tomli_w"], "3.13": ["msgspec", "tomli_w"]}
    assert "-cp310-" in next(line for line in packs["3.10"]["lock"] if line.startswith("msgspec"))
    with tarfile.open(packs["3.13"]["tar"]) as archive:
        assert sorted(archive.getnames()) == [line.split()[0] for line in packs["3.13"]["lock"]]

    unreachable = {"PIP_INDEX_URL": "http://127.0.0.1:9/", "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": ""}
    again = run(tmp_path, "3.10", *WANTED, **unreachable)
    assert json.loads(again.stdout) == packs["3.10"]


def test_what_cannot_be_had_is_one_error_with_pips_words_and_leaves_nothing(tmp_path):
    done = run(tmp_path, "3.12", "msgspec==0.0.0", PIP_NO_INDEX="1", PIP_FIND_LINKS="")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("wheels for Python 3.12 on x86_64 could not be downloaded:\n")
    assert "msgspec==0.0.0" in done.stderr
    assert [path.suffix for path in tmp_path.iterdir()] == [".lock"]


@pytest.mark.parametrize("content", ["", '{"tar": '])
def test_a_description_that_a_power_cut_spoiled_is_none(tmp_path, content):
    wanted = wheelhouse._parser().parse_args([*words(tmp_path, "3.12"), "msgspec==0.0.0"])
    (tmp_path / f"{wheelhouse._key(wanted)}.json").write_text(content)
    done = run(tmp_path, "3.12", "msgspec==0.0.0", PIP_NO_INDEX="1", PIP_FIND_LINKS="")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("wheels for Python 3.12 on x86_64 could not be downloaded:\n")


def test_platforms_are_those_that_the_hosts_c_library_can_run():
    tags = wheelhouse.platforms("aarch64", "2.31")
    assert tags[0] == "manylinux_2_31_aarch64"
    assert "manylinux2014_aarch64" in tags
    assert "manylinux_2_32_aarch64" not in tags
