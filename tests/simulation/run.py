"""Runs seeds, and takes away from one that fails every step it fails without."""

import os
import tempfile
from pathlib import Path

from tests.simulation.samples import Violation
from tests.simulation.world import Step, World, plan

STEP_COUNT = 120
SHRINK_RUNS_MAX = 400
MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
"""Where syncs cost nothing: what a power cut keeps is the simulated disk's to say."""


def play(seed, steps):
    """The violation that the steps lead to; None where all holds."""
    with tempfile.TemporaryDirectory(prefix="simulation-", dir=MEMORY) as folder:
        try:
            world = World(Path(folder) / "data", seed)
            for step in steps:
                world.do(step)
            world.finish()
        except Violation as violation:
            return violation
        finally:
            if "world" in locals():
                world.end(power_cut=False)
    return None


def shrink(seed, steps, violation):
    """A part of the steps that breaks the same promise: thrown out in halves, then one by one."""
    size, runs = len(steps) // 2, 0
    while size:
        at = 0
        while at < len(steps) and runs < SHRINK_RUNS_MAX:
            fewer = steps[:at] + steps[at + size :]
            runs += 1
            found = play(seed, fewer)
            if found is not None and found.promise == violation.promise:
                steps = fewer
            else:
                at += size
        size //= 2
    return steps


def explain(seed, steps, violation):
    """What a person needs to see it again: the line is a case for ``cases.txt``."""
    return f"{violation}\n{written(seed, steps)}"


def written(seed, steps):
    """A run as a line of ``cases.txt``: it stays the same when the plan of a seed changes."""
    return " ".join([str(seed), *(f"{step.kind}:{step.seed}" for step in steps)])


def parsed(line):
    """(seed, steps) of a line of ``cases.txt``; a seed alone means all of its plan."""
    seed, *words = line.split()
    pairs = [word.split(":") for word in words]
    steps = [Step(kind, int(number)) for kind, number in pairs]
    return int(seed), steps or plan(int(seed), STEP_COUNT)
