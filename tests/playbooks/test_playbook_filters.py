"""The filters between the inventory's variables and the agent's configuration."""

import pytest
import tomllib
from ansible.errors import AnsibleFilterError
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar

from playbook_runs import load

filters = load("filter_plugins/rlfleet.py")


def test_to_toml_keeps_every_kind_of_value_and_leaves_empty_tables_out():
    tables = {
        "policy": {"stable_minutes": 0.5, "max_crashes": 3, "count_clean_reboots": False},
        "supervisor": {},
        "trainer": {"command": ["/opt/x y/rltrain", 'say "hi"'], "env": {"CUDA_VISIBLE_DEVICES": "0"}},
        "modes": [{"name": "light", "games": 2}],
        "games": [],
    }
    expected = {name: table for name, table in tables.items() if table}
    assert tomllib.loads(filters.to_toml(tables)) == expected


def test_to_toml_takes_what_ansible_makes_of_an_inventory(tmp_path):
    """Ansible hands over its own kinds of strings and lists, and templates that are filled in late."""
    inventory = tmp_path / "vars.yml"
    inventory.write_text("minutes: 5\ntables: {policy: {stable_minutes: '{{ minutes }}'}, games: [{name: Pong}]}\n")
    variables = DataLoader().load_from_file(str(inventory), trusted_as_template=True)
    templar = Templar(loader=DataLoader(), variables=variables)
    document = filters.to_toml(templar.template(variables["tables"]))
    assert tomllib.loads(document) == {"policy": {"stable_minutes": 5}, "games": [{"name": "Pong"}]}


@pytest.mark.parametrize(
    ("tables", "expected"),
    [
        ({"policy": {"stable_minutes": None}}, "rlfleet_policy.stable_minutes: no value; give it one or leave it out"),
        ({"games": [{"name": "Pong"}, {"name": None}]}, "rlfleet_games[1].name: no value; give it one or leave it out"),
        (
            {"trainer": {"env": {"A": b"x"}}},
            "rlfleet_trainer.env.A: b'x' can't be written as TOML; use text, numbers, lists or dictionaries",
        ),
    ],
)
def test_to_toml_names_the_place_of_a_value_that_toml_cannot_hold(tables, expected):
    with pytest.raises(AnsibleFilterError) as caught:
        filters.to_toml(tables)
    assert expected == caught.value.message


@pytest.mark.parametrize(
    ("tables", "expected"),
    [
        ({"policy": {"stable_minutes": 5}}, ""),
        (
            {"policy": {"stable_minute": 5}},
            "rlfleet_policy: [policy] stable_minute: unknown key (did you mean stable_minutes?)",
        ),
        (
            {"modes": [{"name": "light", "games": 0, "num_envs": 1, "batch_size": 1}]},
            "rlfleet_modes: [[modes]] 1: games must be at least 1",
        ),
    ],
)
def test_config_fault_is_the_agents_own_message_with_the_variable_to_mend(tables, expected):
    assert expected == filters.config_fault(filters.to_toml(tables))


def test_unknown_names_are_told_with_the_nearest_known_one():
    known = ["rlfleet_policy", "rlfleet_root"]
    assert filters.unknown_names(["rlfleet_root"], known) == []
    assert filters.unknown_names(["rlfleet_zzzzzzzzzzzz", "rlfleet_polcy", "rlfleet_root"], known) == [
        "rlfleet_polcy: unknown variable (did you mean rlfleet_policy?)",
        "rlfleet_zzzzzzzzzzzz: unknown variable",
    ]
