"""The configuration: the example is the default, and a fault names place, fault and nearest key."""

from __future__ import annotations

import pytest

from rlagent import config
from rlagent.config import Config, ConfigError, parse, to_rules

MODE = '[[modes]]\nname = "light"\ngames = 2\nnum_envs = 8\nbatch_size = 64\n'


def test_the_commented_example_shows_every_default():
    assert config.load(config.EXAMPLE) == Config()


def test_the_example_mentions_every_setting():
    text = config.EXAMPLE.read_text()
    for section in (config.AgentSection, config.PolicySection, config.SupervisorSection, config.TrainerSection):
        missing = [name for name in section.__struct_fields__ if f"\n{name} = " not in text]
        assert missing == []


def test_the_defaults_are_the_first_users():
    rules = to_rules(Config())
    assert [(m.name, m.slots) for m in rules.modes] == [("light", 2), ("medium", 4)]
    assert [(m.num_envs, m.batch_size) for m in Config().modes] == [(32, 2048), (64, 4096)]
    assert (rules.stable_s, rules.max_crashes, rules.window_s, rules.cooldown_s) == (3600, 3, 3600, 3600)
    assert [g.name for g in rules.games][:2] == ["MsPacman", "Pong"]
    assert len(rules.games) == 10


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "[policy]\nstable_minute = 3",
            "config.toml [policy] stable_minute: unknown key (did you mean stable_minutes?)",
        ),
        ("[polcy]", "config.toml [polcy]: unknown key (did you mean policy?)"),
        ('[policy]\nstable_minutes = "x"', "config.toml [policy] stable_minutes: Expected float, got str"),
        ("[policy]\nmax_crashes = -1", "config.toml [policy]: max_crashes must not be negative"),
        ("[policy]\nwindow_minutes = inf", "config.toml [policy] window_minutes: inf is not a usable number"),
        ("[policy]\nwindow_minutes = nan", "config.toml [policy] window_minutes: nan is not a usable number"),
        (MODE.replace("2", "0"), "config.toml [[modes]] 1: games must be at least 1"),
        (MODE + MODE, "config.toml: modes has 'light' twice"),
        (MODE.replace("light", "../up"), "config.toml [[modes]] 1: name '../up' may hold only letters"),
        ('[[games]]\nnam = "x"', "config.toml [[games]] 1: nam: unknown key (did you mean name?)"),
        ("[[games]]\ntarget_frames = 5", "config.toml [[games]] 1: Object missing required field name"),
        ('[trainer]\ncommand = ["a", "{gam}"]', "unknown placeholder {gam} (did you mean game?)"),
        ("[trainer]\ncommand = []", "config.toml [trainer]: command must name a program"),
        ("[supervisor]\nrestart_backoff_s = []", "restart_backoff_s needs at least one waiting time"),
        ("x =", "config.toml: not valid TOML: "),
    ],
)
def test_a_fault_is_one_clear_message(text, message):
    with pytest.raises(ConfigError) as raised:
        parse(text)
    assert message in str(raised.value)


def test_a_missing_file_names_the_example(tmp_path):
    with pytest.raises(ConfigError, match=r"no such file .*example\.toml"):
        config.load(tmp_path / "nothing.toml")


def test_any_number_of_rungs():
    rungs = "".join(MODE.replace("light", f"rung{n}") for n in range(7))
    assert len(parse(rungs).modes) == 7


def test_braces_that_are_no_placeholder_stay():
    parse('[trainer]\ncommand = ["a", "{\\"lr\\": 1}", "{}"]')


def test_what_a_trainer_is_started_with_is_part_of_its_mode():
    """So that a changed setting restarts exactly the trainers it concerns."""
    before = to_rules(parse(MODE))
    assert to_rules(parse(MODE)) == before
    assert to_rules(parse(MODE.replace("64", "128"))).modes != before.modes
    assert to_rules(parse(MODE + "[policy]\nstable_minutes = 5\n")).modes == before.modes


def test_values_beyond_a_year_or_a_sane_factor_are_refused():
    for text in (
        "stable_minutes = 1e12",
        "cooldown_factor = 1e200",
        "window_minutes = 1e9",
        "cooldown_max_minutes = 1e9",
    ):
        with pytest.raises(ConfigError, match=r"\[policy\]"):
            parse(f"[policy]\n{text}")


@pytest.mark.parametrize("state_dir", ["", "var", "../var"])
def test_a_relative_state_directory_is_refused(state_dir):
    with pytest.raises(ConfigError, match="state_dir must be an absolute path"):
        parse(f'[agent]\nstate_dir = "{state_dir}"')


def test_a_game_may_not_have_the_name_of_the_agents_log():
    with pytest.raises(ConfigError, match="the name of a log of the agent itself"):
        parse('[[games]]\nname = "agent"')
