"""What the soak script makes of its samples: temporaries do not count as growth, what stays does."""

import math

import pytest

from scripts import soak

MIB = 2**20


def samples(growth_mib_per_hour=0.0, seconds=601, rate=5.0, slower=0.0, files=8):
    """One per second: 500 MiB held, 100 MiB more in three of four, and whatever grows."""
    made, done = [], 0.0
    for second in range(seconds):
        held = 500 + growth_mib_per_hour * second / 3600 + (100 if second % 4 else 0)
        done += rate * (1 - slower * second / seconds)
        made.append(soak.Sample(1e4 + second, round(held * MIB), files, round(done)))
    return made


def test_temporaries_are_no_growth_whenever_they_are_met():
    held = [min(part, key=lambda s: s.rss) for part in soak.windows(samples())]
    assert [s.rss for s in held] == [500 * MIB] * 10
    assert soak.slope(held) == pytest.approx(0, abs=1e-6)


def test_what_stays_is_growth():
    held = [min(part, key=lambda s: s.rss) for part in soak.windows(samples(growth_mib_per_hour=50))]
    assert soak.slope(held) == pytest.approx(10, rel=0.02)


def test_every_sample_is_in_one_window_and_a_rest_joins_the_last():
    parts = soak.windows(samples(seconds=150))
    assert [len(part) for part in parts] == [60, 90]


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
    assert "memory, least of each minute" in capsys.readouterr().out


def test_files_that_stay_open_are_over_the_limit(capsys):
    made = samples()
    assert not soak.judge([*made[:-1], made[-1]._replace(files=9)], "video")


def test_one_window_has_no_slope():
    assert math.isnan(soak.slope(samples()[:1]))
