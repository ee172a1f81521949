"""The soak script: temporaries do not count as growth, what stays does; work is watched and stopped."""

import threading

import numpy as np
import pytest

from scripts import soak

MIB = 2**20


def samples(growth_mib_per_hour=0.0, seconds=600, rate=5.0, slower=0.0, files=8):
    """One every ten: 500 MiB held and whatever grows; temporaries in five of six, a picture is open in half of them.
    Once in a minute the two numbers of memory are of different moments."""
    made, done = [], 0.0
    for index in range(seconds // 10 + 1):
        second = 10 * index
        used = 300 + growth_mib_per_hour * second / 3600 + (100 if index % 6 != 4 else 0)
        rest = 200 - (100 if index % 6 == 2 else 0)
        done += 10 * rate * (1 - slower * second / seconds)
        made.append(soak.Sample(1e4 + second, round(used * MIB), rest * MIB, files + index % 2, round(done)))
    return made


def test_what_is_there_at_some_moments_is_no_growth():
    held = soak.windows(samples())
    assert [h.memory for h in held] == [500 * MIB] * 10
    assert [h.files for h in held] == [8] * 10
    assert soak.slope(held)[0] == pytest.approx(0, abs=1e-6)


def test_what_stays_is_growth():
    growth, error = soak.slope(soak.windows(samples(growth_mib_per_hour=50)))
    assert growth == pytest.approx(10, rel=0.02) and error < 0.1


def test_a_slope_that_may_be_chance_is_no_growth(capsys):
    swings = np.random.default_rng(0).integers(-60, 60, 61)  # more than 2 % an hour by chance
    made = [s._replace(rest=s.rest + int(x) * MIB) for s, x in zip(samples(), swings, strict=True)]
    assert soak.slope(soak.windows(made))[0] > soak.MEMORY_PERCENT_PER_HOUR
    assert soak.judge(made, "page") and "no direction" in capsys.readouterr().out


def test_a_rest_joins_the_last_window():
    assert [h.seconds - 1e4 for h in soak.windows(samples(seconds=150))] == [0, 60]


@pytest.mark.parametrize(
    ("change", "within"),
    [
        ({}, True),
        ({"growth_mib_per_hour": 50}, False),
        ({"growth_mib_per_hour": 5}, True),
        ({"slower": 0.4}, False),
        ({"seconds": 80}, False),  # one window: no line through it
    ],
)
def test_the_limits(change, within, capsys):
    assert soak.judge(samples(**change), "train") is within
    assert "memory held in each minute" in capsys.readouterr().out


def test_files_that_stay_open_are_over_the_limit(capsys):
    made = samples()
    assert not soak.judge([*made[:-8], *(s._replace(files=s.files + 1) for s in made[-8:])], "video")


def test_one_window_has_no_slope():
    assert np.isnan(soak.slope(soak.windows(samples()[:3]))).all()


def test_work_is_watched_from_its_first_step_and_stopped_in_time(monkeypatch):
    over, done = threading.Event(), [0]

    def run():
        while not over.wait(0.05):
            done[0] += 1

    monkeypatch.setattr(soak, "MOMENT_S", 0.1)
    found = soak.soak(soak.Work(run, lambda: done[0], over.set), minutes=0.02, every=0.2)
    assert 2 <= len(found) <= 5  # fewer than five where the machine is busy
    assert 0 < found[0].done < found[-1].done
    assert found[0].used > 2**20 and found[0].used + found[0].rest > 2**20 and found[0].files > 2


def test_work_that_ends_early_is_no_result():
    with pytest.raises(SystemExit, match="ended early"):
        soak.soak(soak.Work(lambda: None, lambda: 0, lambda: None), minutes=1, every=1)
