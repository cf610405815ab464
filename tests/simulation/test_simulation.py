"""The whole engine against a plain model, under faults that a seed chooses.

``pytest tests/simulation --simulation-seed N`` (or SIMULATION_SEED) runs one seed. What fails is
shrunk to the fewest steps and printed as a line for ``cases.txt``, which is run for ever after.
SOAK_SECONDS says how long the soak test looks for new ones, SOAK_SEED where it begins.
"""

import os
import random
import sys
import time
from pathlib import Path

import pytest

from tests.simulation.run import STEP_COUNT, explain, parsed, play, shrink
from tests.simulation.world import plan

SOAK_SECONDS = float(os.environ.get("SOAK_SECONDS", "20"))
CASES = [
    line
    for line in (Path(__file__).parent / "cases.txt").read_text().splitlines()
    if line and not line.startswith("#")
]


def check(seed, steps):
    violation = play(seed, steps)
    if violation is not None:
        fewest = shrink(seed, steps, violation)
        pytest.fail(explain(seed, fewest, play(seed, fewest)), pytrace=False)


def test_promises_hold(sampled_seed):
    check(sampled_seed, plan(sampled_seed, STEP_COUNT))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.split(maxsplit=1)[0])
def test_what_once_failed(case):
    check(*parsed(case))


@pytest.mark.soak
@pytest.mark.timeout(SOAK_SECONDS * 2 + 600)
def test_promises_hold_for_long():
    first = int(os.environ.get("SOAK_SEED", str(random.SystemRandom().randrange(10**9))))
    count, deadline = 0, time.monotonic() + SOAK_SECONDS
    while time.monotonic() < deadline:
        check(first + count, plan(first + count, STEP_COUNT))
        count += 1
    sys.stderr.write(f"seeds {first}..{first + count - 1} hold\n")
