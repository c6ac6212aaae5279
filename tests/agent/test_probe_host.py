"""The host probe: what real hosts show (recorded), and this machine as it is."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
import types
from pathlib import Path

import psutil
import pytest

from rlagent.probe import host
from rlagent.supervisor import procfs

STAT = "1 (init) x) S 0 1 1 0 -1 4194560 100 0 0 0 5 6 0 0 20 0 1 0 {start} 1000 10 18446744073709551615 0 0\n"
GIB = 2**30


@pytest.fixture
def tree(tmp_path, monkeypatch):
    """Return a function that makes the files of another host and shows them to the probe."""
    monkeypatch.setattr(host, "PROC", tmp_path / "proc")
    monkeypatch.setattr(procfs, "PROC", tmp_path / "proc")
    monkeypatch.setattr(host, "CGROUP", tmp_path / "cgroup")

    def write(files: dict[str, str]) -> None:
        for name, content in files.items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(content)

    return write


def machine(start: int = 22, **more: str) -> dict[str, str]:
    return {
        "proc/sys/kernel/random/boot_id": "7a2f4d37-9634-45c7-9d82-4a781a0bd05c\n",
        "proc/1/stat": STAT.format(start=start),
        "proc/uptime": "90000.50 170000.00\n",
        "proc/meminfo": "MemTotal:       65536000 kB\nMemFree: 1 kB\nMemAvailable: 32768000 kB\nHugePages_Total: 0\n",
        "proc/vmstat": "nr_free_pages 12\noom_kill 3\n",
        "proc/pressure/memory": (
            "some avg10=12.34 avg60=1.00 avg300=0.10 total=1\nfull avg10=9.99 avg60=0.00 avg300=0.00 total=2\n"
        ),
        **more,
    }


def test_the_boot_is_named_by_the_kernels_boot_and_the_start_of_pid_1(tree):
    tree(machine(start=22))
    before = host.boot_identity()
    assert before == "7a2f4d37-9634-45c7-9d82-4a781a0bd05c/22"
    tree(machine(start=8_000_000))
    assert host.boot_identity() == "7a2f4d37-9634-45c7-9d82-4a781a0bd05c/8000000"


def test_a_restarted_containers_uptime_is_its_own(tree):
    ticks = os.sysconf("SC_CLK_TCK")
    tree(machine(start=89_000 * ticks))
    assert host.uptime_s() == 1000.5


def test_memory_pressure_and_load(tree, tmp_path):
    tree(machine())
    seen = host.readings(tmp_path)
    assert (seen.memory_total_mib, seen.memory_available_mib) == (64000, 32000)
    assert seen.memory_pressure_percent == 12.34


def test_a_new_containers_memory_limit_and_cpu_quota_hold(tree, tmp_path):
    """Control groups v2, seen from inside: the limits are at the root of what is visible."""
    tree(
        machine()
        | {
            "proc/self/cgroup": "0::/\n",
            "cgroup/memory.max": f"{16 * GIB}\n",
            "cgroup/memory.current": f"{12 * GIB}\n",
            "cgroup/memory.stat": f"anon 5\ninactive_file {2 * GIB}\n",
            "cgroup/cpu.max": "50000 100000\n",
        }
    )
    seen = host.readings(tmp_path)
    assert (seen.memory_total_mib, seen.memory_available_mib, seen.cpu_count) == (16 * 1024, 6 * 1024, 1)


def test_an_old_containers_memory_limit_and_cpu_quota_hold(tree, tmp_path):
    """Control groups v1: /proc names the host's path, which does not exist inside."""
    tree(
        machine()
        | {
            "proc/self/cgroup": "5:cpu,cpuacct:/docker/ab\n4:memory:/docker/ab\n0::/docker/ab\n",
            "cgroup/memory/memory.limit_in_bytes": f"{8 * GIB}\n",
            "cgroup/memory/memory.usage_in_bytes": f"{7 * GIB}\n",
            "cgroup/memory/memory.stat": f"inactive_file {GIB}\ntotal_inactive_file {2 * GIB}\n",
            "cgroup/cpu/cpu.cfs_quota_us": "100000\n",
            "cgroup/cpu/cpu.cfs_period_us": "100000\n",
        }
    )
    seen = host.readings(tmp_path)
    assert (seen.memory_total_mib, seen.memory_available_mib, seen.cpu_count) == (8 * 1024, 3 * 1024, 1)


def test_no_limit_is_no_limit(tree, tmp_path):
    tree(
        machine()
        | {
            "proc/self/cgroup": "4:memory:/\n2:cpu:/\n",
            "cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
            "cgroup/memory/memory.usage_in_bytes": "1\n",
            "cgroup/cpu/cpu.cfs_quota_us": "-1\n",
            "cgroup/cpu/cpu.cfs_period_us": "100000\n",
        }
    )
    seen = host.readings(tmp_path)
    assert (seen.memory_total_mib, seen.cpu_count) == (64000, len(os.sched_getaffinity(0)))


@pytest.mark.parametrize(
    ("counter", "content", "groups"),
    [
        ("proc/vmstat", "oom_kill {}\n", "0::/\n"),
        (
            "cgroup/system.slice/rlagent.service/memory.events",
            "oom 1\noom_kill {}\n",
            "0::/system.slice/rlagent.service\n",
        ),
        ("cgroup/memory/memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill {}\n", "4:memory:/docker/ab\n"),
    ],
)
def test_kernel_kills_for_memory_are_counted_in_the_trainers_own_group_or_else_on_the_host(
    tree, tmp_path, counter, content, groups
):
    tree(machine() | {"proc/vmstat": "oom_kill 70\n", "proc/9/cgroup": groups, counter: content.format(4)})
    found = host.oom_counter(9)
    assert (found, host.oom_kills(found)) == (tmp_path / counter, 4)


def test_a_group_that_is_gone_has_no_kills(tmp_path):
    assert host.oom_kills(tmp_path / "gone" / "memory.events") == 0


def test_a_host_that_tells_nothing_is_all_none(tree, tmp_path):
    seen = host.readings(tmp_path / "no such folder")
    assert (seen.memory_total_mib, seen.memory_available_mib, seen.memory_pressure_percent) == (None, None, None)
    assert (seen.disk_free_mib, seen.disk_total_mib) == (None, None)
    assert (host.boot_identity(), host.uptime_s(), host.rss_mib(1)) == ("unknown/0", 0.0, None)
    assert host.oom_kills(host.oom_counter(1)) == 0


def test_this_machine_as_psutil_sees_it(tmp_path):
    seen = host.readings(tmp_path)
    disk = psutil.disk_usage(str(tmp_path))
    assert 1 <= seen.cpu_count <= os.cpu_count()
    assert seen.memory_total_mib <= psutil.virtual_memory().total / 2**20 + 1
    assert 0 < seen.memory_available_mib <= seen.memory_total_mib
    assert seen.disk_total_mib == pytest.approx(disk.total / 2**20)
    began = psutil.Process(1).create_time()
    least_s = time.time() - began - 5
    uptime_s = host.uptime_s()
    assert least_s <= uptime_s <= time.time() - began + 5
    assert host.rss_mib(os.getpid()) == pytest.approx(psutil.Process().memory_info().rss / 2**20, rel=0.2)


def test_a_disk_with_room_is_not_full_and_one_that_can_not_be_looked_at_is_not_called_so(tmp_path):
    assert not host.disk_is_full(tmp_path)
    assert not host.disk_is_full(tmp_path / "no such folder")


@pytest.mark.parametrize(
    ("quota", "count"),
    [
        ("100000 100000", 1),
        ("100001 100000", 2),
        ("200000 100000", 2),
        ("1 100000", 1),
        ("0 100000", 1),
        ("9900000 100000", 16),
        ("max 100000", 16),
        ("100000 0", 16),
        ("100000", 16),
        ("100000 100000 1", 16),
        ("100000 max", 16),
        ("", 16),
    ],
)
def test_a_quota_is_rounded_up_to_whole_cpus_and_is_no_more_than_there_are(tree, monkeypatch, quota, count):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: set(range(16)))
    tree(machine() | {"proc/self/cgroup": "0::/\n", "cgroup/cpu.max": f"{quota}\n"})
    assert host.cpu_count() == count


def test_the_tightest_of_nested_quotas_and_limits_holds(tree, tmp_path, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: set(range(16)))
    inner, outer = "cgroup/a.slice/b.service", "cgroup/a.slice"
    tree(machine() | {"proc/self/cgroup": "0::/a.slice/b.service\n"})
    for folder, quota, limit, used in ((inner, 4, 40, 20), (outer, 2, 30, 25)):
        tree({f"{folder}/cpu.max": f"{quota}00000 100000\n", f"{folder}/memory.max": f"{limit * GIB}\n"})
        tree({f"{folder}/memory.current": f"{used * GIB}\n", f"{folder}/memory.stat": "anon 1\n"})
    seen = host.readings(tmp_path)
    assert (seen.cpu_count, seen.memory_total_mib, seen.memory_available_mib) == (2, 30 * 1024, 5 * 1024)


@pytest.mark.parametrize(
    ("limit", "used", "cache", "total_mib", "available_mib"),
    [
        (2 * GIB, GIB, 0, 2048, 1024),
        (2 * GIB, GIB, GIB // 2, 2048, 1536),
        (2 * GIB, GIB, 3 * GIB, 2048, 2048),
        (GIB, 2 * GIB, 0, 1024, 0),
        (2**60 - 1, GIB, 0, 64000, 32000),
        (2**60, GIB, 0, 64000, 32000),
        (90 * GIB, 80 * GIB, 0, 64000, 10 * 1024),
        (100 * GIB, GIB, 0, 64000, 32000),
    ],
)
def test_a_limit_on_memory_holds_where_it_is_tighter_than_the_host(
    tree, tmp_path, limit, used, cache, total_mib, available_mib
):
    group = {"memory.max": f"{limit}\n", "memory.current": f"{used}\n", "memory.stat": f"inactive_file {cache}\n"}
    tree(machine() | {"proc/self/cgroup": "0::/\n"} | {f"cgroup/{name}": text for name, text in group.items()})
    seen = host.readings(tmp_path)
    assert (seen.memory_total_mib, seen.memory_available_mib) == (total_mib, available_mib)


def test_a_container_that_does_not_see_the_host_s_memory_knows_its_own(tree, tmp_path):
    tree({"proc/self/cgroup": "0::/\n", "cgroup/memory.max": f"{2**60 - 1}\n", "cgroup/memory.current": f"{GIB}\n"})
    seen = host.readings(tmp_path)
    assert seen.memory_total_mib == pytest.approx(2**40)
    assert seen.memory_available_mib == pytest.approx(2**40 - 1024)
    tree({"cgroup/memory.max": f"{2**60}\n"})
    assert host.readings(tmp_path).memory_total_mib is None


def test_the_innermost_count_of_kernel_kills_is_taken_where_there_is_one(tree, tmp_path):
    tree(machine() | {"proc/9/cgroup": "0::/a.slice/b.service\n", "cgroup/a.slice/memory.events": "oom_kill 5\n"})
    assert host.oom_counter(9) == tmp_path / "cgroup/a.slice/memory.events"
    tree({"cgroup/a.slice/b.service/memory.events": "low 0\noom_kill 6\n"})
    assert host.oom_counter(9) == tmp_path / "cgroup/a.slice/b.service/memory.events"
    assert host.oom_kills(host.oom_counter(9)) == 6


def test_pid_1_can_not_be_older_than_the_host(tree):
    tree(machine(start=99_000 * os.sysconf("SC_CLK_TCK")))
    assert host.uptime_s() == 0.0


def test_load_where_the_kernel_tells_it(tmp_path, monkeypatch):
    def refuse():
        raise OSError

    monkeypatch.setattr(os, "getloadavg", lambda: (1.5, 2.5, 3.5))
    assert host.readings(tmp_path).load_1m == 1.5
    monkeypatch.setattr(os, "getloadavg", refuse)
    assert host.readings(tmp_path).load_1m is None


def test_resident_memory_is_in_mib(tree):
    tree({"proc/7/status": "Name: x\nVmPeak: 9 kB\nVmRSS:\t    2560 kB\nThreads: 1\n"})
    assert host.rss_mib(7) == 2.5


ROOMY = {"f_frsize": 4096, "f_bfree": 1000, "f_bavail": 1000, "f_files": 1000, "f_ffree": 10, "f_favail": 10}


@pytest.mark.parametrize(
    ("changes", "is_full"),
    [
        ({}, False),
        ({"f_bavail": 16, "f_bfree": 16}, False),
        ({"f_bavail": 15, "f_bfree": 15}, True),
        ({"f_frsize": 1, "f_bavail": 65_536, "f_bfree": 65_536}, False),
        ({"f_frsize": 1, "f_bavail": 65_535, "f_bfree": 65_535}, True),
        ({"f_ffree": 0, "f_favail": 0}, True),
        ({"f_ffree": 1, "f_favail": 1}, False),
        ({"f_files": 1, "f_ffree": 0, "f_favail": 0}, True),
        ({"f_files": 0, "f_ffree": 0, "f_favail": 0}, False),
        ({"f_bavail": 0}, "unless root"),
        ({"f_favail": 0}, "unless root"),
        ({"f_bfree": 0}, "for root"),
        ({"f_ffree": 0}, "for root"),
    ],
    ids=str,
)
@pytest.mark.parametrize("user", [0, 1000])
def test_a_disk_is_full_below_64_kib_or_without_another_file_for_this_user(
    tmp_path, monkeypatch, changes, is_full, user
):
    monkeypatch.setattr(os, "statvfs", lambda _folder: types.SimpleNamespace(**(ROOMY | changes)))
    monkeypatch.setattr(os, "geteuid", lambda: user)
    expected = {"unless root": user != 0, "for root": user == 0}.get(is_full, is_full)
    assert host.disk_is_full(tmp_path) is expected


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root for a small disk")
@pytest.mark.parametrize(
    ("options", "files"), [("size=256k", [300_000]), ("size=1m,nr_inodes=3", [1, 1])], ids=["space", "number of files"]
)
def test_a_disk_is_full_when_a_small_file_finds_no_room(tmp_path, options, files):
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", tmp_path], check=True)
    try:
        assert not host.disk_is_full(tmp_path)
        for number, size in enumerate(files):
            with contextlib.suppress(OSError), (tmp_path / str(number)).open("wb", buffering=0) as file:
                file.write(bytes(size))
        assert host.disk_is_full(tmp_path)
    finally:
        subprocess.run(["umount", "-l", tmp_path], check=True)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root for a PID namespace")
def test_a_new_pid_namespace_is_another_boot_with_a_young_uptime():
    code = "from rlagent.probe import host; print(host.boot_identity(), host.uptime_s())"
    command = ["unshare", "--pid", "--fork", "--mount-proc", sys.executable, "-c", code]
    boot, uptime = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    kernel, _, _ = boot.partition("/")
    assert kernel == Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    assert boot != host.boot_identity()
    assert float(uptime) < min(120, host.uptime_s())
