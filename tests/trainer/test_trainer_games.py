"""Names of games."""

import ale_py.roms
import pytest

from rltrainer import games
from rltrainer.errors import ConfigurationError


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("MsPacman", "ms_pacman"),
        ("ms_pacman", "ms_pacman"),
        ("Qbert", "qbert"),
        ("QBert", "qbert"),
        ("SpaceInvaders", "space_invaders"),
        ("pong", "pong"),
        ("UpNDown", "up_n_down"),
    ],
)
def test_all_usual_spellings_are_understood(name, expected):
    assert games.find_rom(name, games.installed_roms()) == expected


def test_an_unknown_game_is_a_configuration_error_with_the_nearest_name():
    with pytest.raises(ConfigurationError, match=r"--game MsPackman: .*did you mean MsPacman") as error:
        games.find_rom("MsPackman", ["ms_pacman", "pong"])
    assert error.value.exit_code == 2


def test_a_game_like_no_other_gets_an_example_of_a_name():
    with pytest.raises(ConfigurationError, match="names are as in MsPacman"):
        games.find_rom("xyzzy", ["ms_pacman", "pong"])


def test_the_list_of_games_is_ale_pys():
    assert games.installed_roms() == ale_py.roms.get_all_rom_ids()


@pytest.mark.parametrize(("rom", "expected"), [("ms_pacman", "MsPacman"), ("pong", "Pong"), ("up_n_down", "UpNDown")])
def test_people_read_a_games_usual_spelling(rom, expected):
    assert games.camel_case(rom) == expected


def test_of_several_near_names_all_are_told():
    with pytest.raises(ConfigurationError) as error:
        games.find_rom("Pung", ["ping", "pong", "tennis"])
    assert str(error.value) == "--game Pung: no such Atari game in ale_py (did you mean Pong or Ping?)"
