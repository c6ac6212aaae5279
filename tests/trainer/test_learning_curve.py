"""The learning curve that `make bench-learning` reads from a run's metrics."""

import json

from contenders.curves import Curve


def episode(step, time, episodic_return):
    return {"kind": "episode", "global_step": step, "time": time, "episodic_return": episodic_return}


def test_a_curve_counts_frames_and_the_hours_since_the_first_record(tmp_path):
    records = [
        {"kind": "iteration", "global_step": 512, "time": 1000.0},
        episode(600, 1900.0, 2.0),
        {"kind": "iteration", "global_step": 1024, "time": 2000.0},
        episode(1100, 4600.0, 5.0),
    ]
    path = tmp_path / "metrics.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in records) + '{"kind": "episode", "global_st')
    assert Curve.of(path) == Curve(frames=[2400, 4400], hours=[0.25, 1.0], returns=[2.0, 5.0])


def test_it_is_smoothed_over_the_last_hundred_games():
    returns = [float(number) for number in range(150)]
    smooth = Curve(frames=[0] * 150, hours=[0.0] * 150, returns=returns).smooth()
    assert smooth[:3] == [0.0, 0.5, 1.0]
    assert smooth[-1] == sum(range(50, 150)) / 100
    assert len(smooth) == 150
