"""What `make bench-check` calls a regression."""

from pathlib import Path

import pytest

BENCH = Path(__file__).parents[2] / "bench"


@pytest.fixture
def check(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCH))
    import check

    return check


@pytest.mark.parametrize(
    ("before", "now", "said"),
    [
        ((0.50, 0.02), (0.54, 0.02), ""),
        ((0.50, 0.02), (0.56, 0.02), "+12% REGRESSED"),
        ((0.50, 0.10), (0.56, 0.05), ""),
        ((0.50, 0.02), (0.40, 0.02), "-20% better"),
    ],
)
def test_only_what_lies_beyond_the_noise_is_named(check, before, now, said):
    assert check.verdict(check.Ratio(*before), check.Ratio(*now)) == said


def test_a_figure_without_a_record_is_said(check):
    assert check.verdict(None, check.Ratio(1.0, 0.0)) == "not recorded"


def test_rounds_are_summed_up_by_their_median(check):
    rounds = [{"a": 1.0}, {"a": 1.2}, {"a": 1.1}]
    assert check.summed_up(rounds) == {"a": check.Ratio(1.1, pytest.approx(0.091))}
