"""What a start loads, and what it must not: each restart pays for it."""

import ale_py.roms

from rltrainer import games
from rltrainer.progress_file import ProgressFile
from rltrainer.train import train
from trainer_runs import last_report, prepared, tiny_args


def test_the_list_of_games_is_ale_pys():
    assert games.installed_roms() == ale_py.roms.get_all_rom_ids()


def test_the_first_new_step_is_reported_at_once(tmp_path, monkeypatch):
    """The one after it is due a second later; as that may be over before anybody looks, each is looked at here."""
    reported = []
    write = ProgressFile.write

    def seen(self, **changes):
        write(self, **changes)
        reported.append(last_report(tmp_path).global_step)

    monkeypatch.setattr(ProgressFile, "write", seen)
    args = tiny_args(tmp_path, target_frames=4 * 64)
    assert train(prepared(args)) is True
    assert reported[0] == 0
    assert next(step for step in reported if step > 0) == args.num_envs
