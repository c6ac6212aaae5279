"""Hosts come from Ansible inventories, as Ansible reads them; what is wrong with one is one clear error."""

import dataclasses
import json

import pytest

from rlctl import inventory
from rlctl.errors import InventoryError, UnknownHostError
from rlctl.hosts import Host

YAML = """
gpu_servers:
  hosts:
    tnr-[0:2]:
    box:
      ansible_host: 203.0.113.9
      ansible_port: 2222
      ansible_user: ubuntu
      ansible_ssh_private_key_file: ~/.ssh/id_x
      ansible_ssh_common_args: -o ProxyJump=bastion
      rlfleet_price_per_hour: "{{ 0.35 * 2 }}"
      rlfleet_user: "{{ ansible_facts.user_id }}"
others:
  hosts:
    here:
      ansible_connection: local
empty:
"""


@pytest.fixture
def source(tmp_path):
    (tmp_path / "hosts.yml").write_text(YAML)
    (tmp_path / "group_vars").mkdir()
    (tmp_path / "group_vars" / "gpu_servers.yml").write_text("rlfleet_root: '{{ inventory_hostname }}/x'\n")
    (tmp_path / "host_vars").mkdir()
    (tmp_path / "host_vars" / "tnr-1.yml").write_text("rlfleet_root: ~/rlfleet\n")
    return str(tmp_path)


def names(source, *patterns):
    return [host.name for host in inventory.load(source, patterns)]


def test_without_a_host_the_group_gpu_servers_is_meant(source):
    assert names(source) == ["tnr-0", "tnr-1", "tnr-2", "box"]


def test_without_that_group_all_hosts_are_meant(tmp_path):
    (tmp_path / "hosts").write_text("a\nb ansible_connection=local\n")
    assert names(str(tmp_path / "hosts")) == ["a", "b"]


@pytest.mark.parametrize(
    ("patterns", "expected"),
    [
        (["tnr-1"], ["tnr-1"]),
        (["tnr-*"], ["tnr-0", "tnr-1", "tnr-2"]),
        (["others", "tnr-0", "here"], ["here", "tnr-0"]),
        (["gpu_servers:!tnr-*"], ["box"]),
        (["all", "!gpu_servers"], ["here"]),
        (["gpu_servers[0]"], ["tnr-0"]),
    ],
)
def test_a_host_may_be_any_ansible_pattern(source, patterns, expected):
    assert names(source, *patterns) == expected


def test_variables_mean_what_they_mean_to_ansible(source):
    box = inventory.load(source, ["box"])[0]
    assert box == Host(
        name="box",
        address="203.0.113.9",
        user="ubuntu",
        port=2222,
        key_file="~/.ssh/id_x",
        ssh_args=("-o", "ProxyJump=bastion"),
        root="box/x",
        price_per_hour=0.7,
    )
    assert inventory.load(source, ["tnr-1"])[0] == Host("tnr-1", "tnr-1", root="~/rlfleet")
    assert inventory.load(source, ["here"])[0] == Host("here", "here", local=True, root="/opt/rlfleet")


def test_an_unknown_host_is_told_with_the_nearest(source):
    with pytest.raises(UnknownHostError) as caught:
        inventory.load(source, ["tnr0"])
    assert str(caught.value).startswith(f"no host or group matches 'tnr0' in inventory {source}; did you mean tnr-")


def test_an_unknown_host_without_a_near_one_is_told_with_all(source):
    with pytest.raises(UnknownHostError, match=r"known: box, here, tnr-0, tnr-1, tnr-2$"):
        inventory.load(source, ["xyzzy"])


def test_a_group_without_hosts_is_told(source):
    with pytest.raises(InventoryError, match="group empty has no hosts; add one below empty"):
        inventory.load(source, ["empty"])


def test_an_empty_default_group_is_told(tmp_path):
    (tmp_path / "h.yml").write_text("gpu_servers:\nothers: {hosts: {a: }}\n")
    with pytest.raises(InventoryError, match="group gpu_servers has no hosts"):
        inventory.load(str(tmp_path / "h.yml"), [])


def test_an_inventory_without_hosts_is_told(tmp_path):
    (tmp_path / "h.yml").write_text("gpu_servers:\n")
    with pytest.raises(InventoryError, match="it has no hosts; add one"):
        inventory.load(str(tmp_path / "h.yml"), [])


def test_broken_yaml_is_told_with_its_place_and_nothing_else(tmp_path, capfd):
    path = tmp_path / "hosts.yml"
    path.write_text("all:\n  hosts:\n    a: {\n")
    with pytest.raises(InventoryError) as caught:
        inventory.load(str(path), [])
    assert f"{path}:4:1: YAML parsing failed" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


def test_broken_yaml_in_group_vars_is_told_with_its_place(source, tmp_path):
    (tmp_path / "group_vars" / "gpu_servers.yml").write_text("a: [\n")
    with pytest.raises(InventoryError, match=r"gpu_servers.yml:2:1: .*YAML parsing failed"):
        inventory.load(source, [])


def test_a_broken_file_beside_a_good_one_is_not_passed_over(source, tmp_path):
    (tmp_path / "more.yml").write_text("all: {\n")
    with pytest.raises(InventoryError, match=r"more\.yml"):
        inventory.load(source, [])


@pytest.mark.parametrize(
    ("values", "fault"),
    [
        ({"ansible_port": "ssh"}, "host a: ansible_port: 'ssh' is no number"),
        ({"rlfleet_price_per_hour": "cheap"}, "host a: rlfleet_price_per_hour: 'cheap' is no number"),
        ({"ansible_connection": "docker"}, "host a: ansible_connection: 'docker'; rlctl knows ssh and local"),
        ({"ansible_host": "{{ nowhere }}"}, "host a: ansible_host: 'nowhere' is undefined"),
    ],
)
def test_a_bad_variable_is_told_with_host_and_name(tmp_path, values, fault):
    path = tmp_path / "h.json"
    path.write_text(json.dumps({"all": {"hosts": {"a": values}}}))
    with pytest.raises(InventoryError) as caught:
        inventory.load(str(path), [])
    assert str(caught.value) == f"inventory {path}: {fault}"


class TestFind:
    """Where the inventory is looked for, in this order."""

    def test_the_one_given(self, tmp_path):
        given = tmp_path / "x"
        given.mkdir()
        assert inventory.find(str(given), {"RLFLEET_INVENTORY": "/other"}, tmp_path, tmp_path) == str(given)

    def test_the_one_of_the_environment(self, tmp_path):
        assert inventory.find(None, {"RLFLEET_INVENTORY": str(tmp_path)}, tmp_path, tmp_path) == str(tmp_path)

    def test_the_nearest_inventory_fleet_above(self, tmp_path):
        (tmp_path / "inventory" / "fleet").mkdir(parents=True)
        below = tmp_path / "playbooks" / "roles"
        below.mkdir(parents=True)
        assert inventory.find(None, {}, below, tmp_path / "home") == str(tmp_path / "inventory" / "fleet")

    def test_the_one_of_the_user(self, tmp_path):
        (tmp_path / "home" / ".config" / "rlfleet").mkdir(parents=True)
        (tmp_path / "home" / ".config" / "rlfleet" / "inventory").write_text("a\n")
        found = inventory.find(None, {}, tmp_path / "cwd", tmp_path / "home")
        assert found == str(tmp_path / "home" / ".config" / "rlfleet" / "inventory")

    def test_none_at_all_names_the_next_step(self, tmp_path):
        with pytest.raises(InventoryError, match="copy inventory/example to inventory/fleet, or name one with -i"):
            inventory.find(None, {}, tmp_path, tmp_path)

    @pytest.mark.parametrize(("given", "env", "place"), [("nope", {}, "-i"), (None, "nope", "RLFLEET_INVENTORY")])
    def test_a_named_one_that_is_missing(self, tmp_path, given, env, place):
        with pytest.raises(InventoryError, match=rf"inventory nope: not found \(from \$?{place}\)"):
            inventory.find(given, {"RLFLEET_INVENTORY": env} if env else {}, tmp_path, tmp_path)


def test_the_command_to_try_by_hand_reaches_the_same_host():
    host = Host("box", "203.0.113.9", user="ubuntu", port=2222, key_file="k", ssh_args=("-J", "b"))
    assert host.ssh_command == "ssh -J b -p 2222 -i k ubuntu@203.0.113.9"
    assert dataclasses.replace(host, user=None, port=None, key_file=None, ssh_args=()).ssh_command == "ssh 203.0.113.9"


def test_a_host_holds_plain_strings(source):
    """Ansible tags its strings with the place they come from; such a string can't be written as JSON."""
    for host in inventory.load(source, ["all"]):
        values = dataclasses.asdict(host).values()
        assert {type(value) for value in values if isinstance(value, str)} == {str}
