"""known_hosts is read as OpenSSH reads it; what ssh-keygen writes and finds is the measure."""

import base64
import subprocess

import psutil
import pytest

from rlctl import knownhosts

KEY, OTHER = b"key-one", b"key-two"


def line(names, key=KEY, kind="ssh-ed25519", marker=""):
    return f"{marker}{names} {kind} {base64.b64encode(key).decode()} a comment\n"


@pytest.fixture
def judge(tmp_path):
    """Return a function that judges a key by files with these lines."""

    def judged(text, name="box", port=22, key=KEY):
        file = tmp_path / f"known-{len(list(tmp_path.iterdir()))}"
        file.write_text(text)
        return knownhosts.find([str(file)], name, port).judge("ssh-ed25519", key)

    return judged


@pytest.mark.parametrize(
    ("names", "name", "port"),
    [
        ("box", "box", 22),
        ("box", "BOX", 22),
        ("a,box,b", "box", 22),
        ("[box]:2222", "box", 2222),
        ("box", "box", 2222),  # OpenSSH lets the machine's key on the usual port vouch for another port
        ("*.example.com", "tnr-0.example.com", 22),
        ("tnr-?", "tnr-7", 22),
        ("[*.example.com]:2222", "a.example.com", 2222),
        ("box", "box", None),
    ],
)
def test_a_known_key_is_known(judge, names, name, port):
    assert judge(line(names), name, port) == "known"


@pytest.mark.parametrize(
    ("names", "name", "port"),
    [("box", "fox", 22), ("[box]:2222", "box", 22), ("*,!box", "box", 22), ("# box", "box", 22), ("|1|x|y", "box", 22)],
)
def test_a_line_about_others_says_nothing(judge, names, name, port):
    assert judge(line(names), name, port) == "unknown"


def test_another_key_is_a_change(judge):
    assert judge(line("box", OTHER)) == "changed"
    assert judge(line("box", OTHER) + line("box", KEY)) == "known"


def test_another_port_of_the_machine_may_have_another_key(judge):
    assert judge(line("box", OTHER), port=2222) == "unknown"


def test_a_revoked_key_is_refused_even_where_it_is_known_too(judge):
    assert judge(line("box") + line("*", marker="@revoked ")) == "revoked"


def test_an_authority_is_not_a_host(judge):
    assert judge(line("box", marker="@cert-authority ")) == "unknown"


def test_names_that_ssh_keygen_hashed_are_found(tmp_path):
    subprocess.run(["ssh-keygen", "-t", "ed25519", "-N", "", "-q", "-f", tmp_path / "id"], check=True)
    kind, text = (tmp_path / "id.pub").read_text().split()[:2]
    known = tmp_path / "known_hosts"
    known.write_text(f"box {kind} {text}\n[10.0.0.1]:2222 {kind} {text}\n")
    subprocess.run(["ssh-keygen", "-H", "-f", known], check=True, capture_output=True)
    assert "box" not in known.read_text()
    key = base64.b64decode(text)
    verdicts = [
        knownhosts.find([str(known)], *place).judge(kind, key)
        for place in (("box", 22), ("10.0.0.1", 2222), ("10.0.0.1", 22), ("fox", 22))
    ]
    assert verdicts == ["known", "known", "unknown", "unknown"]


def test_the_types_of_known_keys_are_asked_for_first(tmp_path):
    file = tmp_path / "known"
    file.write_text(line("box", kind="ssh-rsa") + line("box", OTHER, kind="ecdsa-sha2-nistp256"))
    assert knownhosts.find([str(file)], "box", 22).key_types == ("ssh-rsa", "ecdsa-sha2-nistp256")


def test_an_added_key_is_found_by_openssh(tmp_path):
    file = tmp_path / "new" / "known_hosts"
    knownhosts.add(str(file), "Box", 2222, "ssh-ed25519", KEY)
    found = subprocess.run(["ssh-keygen", "-F", "[box]:2222", "-f", file], check=False, capture_output=True, text=True)
    assert base64.b64encode(KEY).decode() in found.stdout


def test_a_file_that_is_gone_says_nothing_and_one_that_is_odd_is_read_as_far_as_it_goes(tmp_path):
    odd = tmp_path / "odd"
    odd.write_bytes(
        b"\xff\xfe box\n\n# a comment\n@unknown box ssh-ed25519 AAAA\nbox ssh-ed25519\n" + line("box").encode()
    )
    assert knownhosts.find([str(tmp_path / "gone"), str(odd)], "box", 22).judge("ssh-ed25519", KEY) == "known"
    assert knownhosts.find([str(tmp_path / "gone")], "box", 22).judge("ssh-ed25519", KEY) == "unknown"


@pytest.mark.parametrize(
    ("names", "verdict"),
    [
        ("fox,!box", "unknown"),
        ("!fox,box", "known"),
        ("*,!fox", "known"),
        ("!box", "unknown"),
        ("!*", "unknown"),
        ("b?x", "known"),
        ("b[o]x", "unknown"),
        ("BOX", "known"),
        ("B*", "known"),
    ],
)
def test_patterns_mean_what_they_mean_to_openssh(judge, names, verdict):
    assert judge(line(names)) == verdict


def test_a_key_of_another_type_with_the_same_bytes_is_another_key(judge):
    assert judge(line("box", kind="ssh-rsa")) == "changed"


def test_a_key_on_the_usual_port_neither_condemns_nor_hides_one_of_another_port(judge):
    assert judge(line("[box]:2222", OTHER) + line("box"), port=2222) == "known"
    assert judge(line("[box]:2222", OTHER), port=2222) == "changed"
    assert judge(line("box", marker="@revoked "), port=2222) == "revoked"
    assert judge(line("fox", marker="@revoked ") + line("box")) == "known"


def test_the_types_of_a_hosts_own_keys_come_before_those_of_its_usual_port(tmp_path):
    file = tmp_path / "known"
    own = line("[box]:2222", kind="ecdsa-sha2-nistp256")
    file.write_text(line("box", kind="ssh-rsa") + own + line("box", marker="@revoked ", kind="ssh-dss") + own)
    assert knownhosts.find([str(file)], "box", 2222).key_types == ("ecdsa-sha2-nistp256", "ssh-rsa")


def test_adding_leaves_no_file_open(tmp_path):
    before = psutil.Process().num_fds()
    for number in range(5):
        knownhosts.add(str(tmp_path / "known"), f"box{number}", 22, "ssh-ed25519", KEY)
    assert psutil.Process().num_fds() == before
    assert [text.split()[0] for text in (tmp_path / "known").read_text().splitlines()] == [f"box{n}" for n in range(5)]
