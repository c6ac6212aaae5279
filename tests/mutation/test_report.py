"""The report: verdicts replace older ones, what the code has no more is forgotten, survivors are gaps or explained."""

import pytest

from mutation import report
from mutation.report import Found


@pytest.fixture(autouse=True)
def _in_a_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(report, "REPORT", tmp_path / "report.json")
    monkeypatch.setattr(report, "LOCK", tmp_path / "lock")
    monkeypatch.setattr(report, "EQUIVALENTS", tmp_path / "equivalents.toml")
    report.EQUIVALENTS.write_text('["a.b"]\n\'f: x -> y\' = "the same"\n')


def test_what_is_written_is_read_again():
    with report.changed() as found:
        found["a.b"] = Found(7, {"f: a -> b": "tests/test_f.py::test_f"}, {"f: x -> y", "f: c -> d"})
    assert report.read() == found
    assert report.read()["a.b"].gaps("a.b") == ["f: c -> d"]


def test_a_verdict_replaces_an_older_one():
    found = Found()
    found.add("f: a -> b", None)
    found.add("f: a -> b", "tests/test_f.py")
    assert found == Found(0, {"f: a -> b": "tests/test_f.py"}, set())
    found.add("f: a -> b", None)
    assert found == Found(0, {}, {"f: a -> b"})


def test_what_the_code_has_no_more_is_forgotten():
    found = Found(2, {"f: a -> b": "t", "f: c -> d": "t"}, {"f: e -> f"})
    found.keep(["f: c -> d"])
    assert found == Found(2, {"f: c -> d": "t"}, set())


def test_the_table_has_a_row_for_each_module_and_a_sum():
    rows = report.table({"a.b": Found(7, {"f: a -> b": "t"}, {"f: x -> y", "f: c -> d"}), "c": Found(1)}).splitlines()
    assert [row.split() for row in rows[1:]] == [["a.b", *"73111"], ["c", *"10000"], ["all", *"83111"]]
