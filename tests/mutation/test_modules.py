"""The table of modules and their tests names only what there is."""

import pytest

from mutation import modules, stage


@pytest.mark.parametrize("module", modules.TESTS)
def test_each_module_and_its_tests_exist(module):
    assert (modules.ROOT / stage.file_of(module)).is_file()
    assert modules.quick(module)
    assert modules.missing(module) == []


def test_modules_are_selected_by_any_part_of_their_dotted_name():
    assert modules.select(["journal"]) == ["rlagent.journal"]
    assert modules.select(["probe"]) == [name for name in modules.TESTS if name.startswith("rlagent.probe.")]
    assert modules.select([]) == list(modules.TESTS)
    with pytest.raises(KeyError, match="jurnal"):
        modules.select(["jurnal"])


def test_a_modules_namesake_is_asked_first():
    assert modules.quick("rlagent.probe.gpu")[0] == "tests/agent/test_probe_gpu.py"
    assert modules.quick("rltrainer.atari.pool")[0] == "tests/trainer/test_trainer_pool.py"
    assert modules.quick("rlctl.fanout")[0] == "tests/ctl/test_ctl_fanout.py"
