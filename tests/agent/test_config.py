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
    assert to_rules(parse(MODE + '[trainer]\ncommand = ["x"]\n')).modes != before.modes
    assert to_rules(parse(MODE + "[trainer]\ncheckpoint_interval_s = 7\n")).modes != before.modes
    assert to_rules(parse(MODE + '[trainer.env]\nA = "1"\n')).modes != before.modes
    own = to_rules(parse(MODE + 'command = ["own"]\n'))
    assert own.modes != before.modes
    assert to_rules(parse(MODE + 'command = ["own"]\n[trainer]\ncommand = ["x"]\n')).modes == own.modes
    ordered, other = ('[trainer.env]\nA = "1"\nB = "2"\n', '[trainer.env]\nB = "2"\nA = "1"\n')
    assert to_rules(parse(MODE + ordered)).modes == to_rules(parse(MODE + other)).modes


YEAR = 527_040
"""Minutes of 366 days."""
BEYOND = 1e-6
WHOLE = ("max_crashes", "blind_spot_incidents", "max_barren_attempts", "log_keep", "actions_per_hour")


@pytest.mark.parametrize(
    ("key", "least", "most"),
    [
        ("agent.tick_s", 0.05, 60),
        ("policy.stable_minutes", None, YEAR),
        ("policy.window_minutes", None, YEAR),
        ("policy.max_crashes", 0, None),
        ("policy.cooldown_minutes", 0, None),
        ("policy.cooldown_factor", 1, 100),
        ("policy.cooldown_max_minutes", 60, YEAR),
        ("policy.forget_hours", None, None),
        ("policy.blind_spot_incidents", 0, None),
        ("policy.crash_price_minutes", 0, 1440),
        ("supervisor.stop_timeout_s", None, None),
        ("supervisor.hang_timeout_s", None, None),
        ("supervisor.start_timeout_s", None, None),
        ("supervisor.backoff_reset_minutes", None, None),
        ("supervisor.log_max_mib", None, None),
        ("supervisor.max_barren_attempts", 1, None),
        ("supervisor.log_keep", 1, None),
        ("guard.memory_pressure_percent", None, 100),
        ("guard.memory_available_percent", None, 100),
        ("guard.sps_fall_percent", None, 100),
        ("guard.sps_fall_minutes", None, 1440),
        ("guard.memory_s", 0, None),
        ("guard.disk_free_mib", 0, None),
        ("guard.gpu_s", 0, None),
        ("guard.gpu_temperature_c", None, None),
        ("guard.actions_per_hour", 0, None),
        ("trainer.checkpoint_interval_s", None, None),
    ],
)
def test_each_number_is_taken_up_to_its_limits_and_refused_beyond(key, least, most):
    """A least of None: everything above 0, but not 0."""
    section, _, name = key.partition(".")
    is_whole = name in WHOLE
    rest = "journal_tick_s = 60\n" if name == "tick_s" else ""

    def takes(value: float) -> bool:
        try:
            found = parse(f"[{section}]\n{rest}{name} = {int(value) if is_whole else float(value)!r}")
        except ConfigError as error:
            if name not in str(error):
                raise
            return False
        return getattr(getattr(found, section), name) == value

    step = 1 if is_whole else BEYOND
    assert takes(0.001 if least is None else least)
    assert not takes(0 if least is None else least - step)
    if least is None:
        assert not takes(-step)
    assert takes(least + 1 if most is None and least is not None else 7 if most is None else most)
    assert most is None or not takes(most + step)


@pytest.mark.parametrize(
    ("text", "is_taken"),
    [
        ("[agent]\ntick_s = 2\njournal_tick_s = 2", True),
        ("[agent]\ntick_s = 2\njournal_tick_s = 1.9", False),
        ("[policy]\ncooldown_minutes = 90\ncooldown_max_minutes = 90", True),
        ("[policy]\ncooldown_minutes = 90\ncooldown_max_minutes = 89", False),
        (f"[policy]\ncooldown_minutes = {YEAR}\ncooldown_max_minutes = {YEAR}", True),
        ("[supervisor]\nrestart_backoff_s = [0]", True),
        ("[supervisor]\nrestart_backoff_s = [5, -0.1]", False),
        ('[trainer]\ncommand = [""]', False),
        ('[trainer]\ncommand = ["a", ""]', True),
        ('[trainer.env]\nA = ""', True),
        ('[trainer.env]\n"A=B" = "c"', False),
        ('[trainer.env]\n"" = "c"', False),
        (MODE.replace("games = 2", "games = 1"), True),
        (MODE.replace("num_envs = 8", "num_envs = 1"), True),
        (MODE.replace("num_envs = 8", "num_envs = 0"), False),
        (MODE.replace("batch_size = 64", "batch_size = 1"), True),
        (MODE.replace("batch_size = 64", "batch_size = 0"), False),
        (MODE + 'command = ["{game}"]', True),
        (MODE + "command = []", False),
        (MODE + 'command = ["{gam}"]', False),
        ("modes = []", False),
        ("games = []", False),
        ('[[games]]\nname = "x"\ntarget_frames = 1', True),
        ('[[games]]\nname = "x"\ntarget_frames = 0', False),
        ('[[games]]\nname = "x"\n[[games]]\nname = "x"', False),
        ('[[games]]\nname = "9_a.b-c"', True),
        ('[[games]]\nname = ".hidden"', False),
        ('[[games]]\nname = "a b"', False),
        ('[[games]]\nname = "a\\n"', False),
        ('[[games]]\nname = "startup"', False),
        ('[agent]\nstate_dir = "/var/x"', True),
        ('[agent]\nstate_dir = "~/x"', True),
        ('[agent]\nstate_dir = "~x/y"', False),
    ],
)
def test_what_belongs_together_is_checked_together(text, is_taken):
    if is_taken:
        parse(text)
    else:
        with pytest.raises(ConfigError):
            parse(text)


def test_the_places_of_modes_are_counted_from_one_and_a_list_in_one_is_looked_into():
    with pytest.raises(ConfigError, match=r"^config.toml \[\[modes\]\] 2: games must be at least 1$"):
        parse(MODE + MODE.replace("light", "dark").replace("games = 2", "games = 0"))
    with pytest.raises(
        ConfigError, match=r"^config.toml \[supervisor\] restart_backoff_s\[1\]: inf is not a usable number$"
    ):
        parse("[supervisor]\nrestart_backoff_s = [1.0, inf]")
    with pytest.raises(ConfigError, match=r"^config.toml: nested too deeply$"):
        parse("x = " + "[" * 100_000)


def test_a_file_that_can_not_be_read_is_named(tmp_path):
    (tmp_path / "c.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match=r"c\.toml: can't be read: "):
        config.load(tmp_path / "c.toml")
    with pytest.raises(ConfigError, match=r"can't be read: .*directory"):
        config.load(tmp_path)
    (tmp_path / "d.toml").write_text("[policy]\nx = 1")
    with pytest.raises(ConfigError, match=r"^d\.toml \[policy\] x: unknown key \(known: policy, "):
        config.load(tmp_path / "d.toml")


def test_a_mode_is_found_by_its_name():
    assert Config().mode("medium").games == 4
    with pytest.raises(KeyError):
        Config().mode("dark")


def test_minutes_and_hours_become_seconds():
    """Each setting has a number of its own, so that none stands for another."""
    text = """
        [policy]
        policy = "goodput"
        stable_minutes = 2
        max_crashes = 5
        window_minutes = 3
        cooldown_minutes = 4
        cooldown_factor = 6
        cooldown_max_minutes = 7
        forget_hours = 8
        count_clean_reboots = false
        blind_spot_incidents = 9
        crash_price_minutes = 10
        max_crashes_cap = true
        [supervisor]
        restart_backoff_s = [11, 12]
        backoff_reset_minutes = 13
        max_barren_attempts = 14
        [trainer]
        checkpoint_interval_s = 15
        [[games]]
        name = "Pong"
        target_frames = 16
    """
    rules = to_rules(parse(text + MODE))
    assert (rules.policy, rules.stable_s, rules.max_crashes, rules.window_s) == ("goodput", 120, 5, 180)
    assert (rules.cooldown_s, rules.cooldown_factor, rules.cooldown_max_s, rules.forget_s) == (240, 6, 420, 28_800)
    assert (rules.count_clean_reboots, rules.blind_spot_incidents, rules.max_crashes_cap) == (False, 9, True)
    assert (rules.crash_price_s, rules.backoff_s, rules.backoff_reset_s) == (600, (11, 12), 780)
    assert (rules.max_barren_attempts, rules.checkpoint_interval_s) == (14, 15)
    assert [(game.name, game.target_frames) for game in rules.games] == [("Pong", 16)]
    assert [(mode.name, mode.slots) for mode in rules.modes] == [("light", 2)]


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
