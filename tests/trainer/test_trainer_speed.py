"""What makes the trainer quick changes nothing of what it computes, and holds in the process that users start."""

import os
import subprocess
import sys


def environment_of(code, **given):
    """Run a Python program that begins again; return what it prints of its environment, and how often it began."""
    begun = (
        "import os; os.write(2, b'begun ' + str(os.getpid()).encode() + b'\\n')\n"
        "from rltrainer import process; process.begin_again()\n"
    )
    inherited = {name: value for name, value in os.environ.items() if name not in ("GLIBC_TUNABLES", "GOMP_SPINCOUNT")}
    done = subprocess.run(
        [sys.executable, "-c", begun + code, "an argument"],
        env=inherited | given, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return done.stdout.strip(), done.stderr.split("\n")[:-1]


def test_a_process_begins_again_once_with_its_pid_and_arguments():
    code = "import sys; print(os.environ['GOMP_SPINCOUNT'], sys.argv[1], os.getpid())"
    printed, begun = environment_of(code)
    pid = printed.split()[-1]
    assert printed == f"10000 an argument {pid}"
    assert begun == [f"begun {pid}"] * 2


def test_settings_of_the_user_are_left_as_they_are():
    code = "print(os.environ['GLIBC_TUNABLES'], os.environ['GOMP_SPINCOUNT'])"
    printed, begun = environment_of(code, GLIBC_TUNABLES="glibc.malloc.hugetlb=0", GOMP_SPINCOUNT="7")
    assert (printed, len(begun)) == ("glibc.malloc.hugetlb=0 7", 1)
