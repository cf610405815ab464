"""When a checkpoint is added to, and when it is written anew."""

from dataclasses import dataclass, field
from types import SimpleNamespace

import pytest

from orrery.store.checkpoint import DEFINED_SPARE, write_checkpoint
from orrery.store.state import Checkpoint


@dataclass
class Definitions:
    parts: list[bytes]
    until: int
    count: int

    def __iter__(self):
        return iter(self.parts)


@dataclass
class Table:
    """Answers with two parts where all is asked for, else with one."""

    series_count: int
    asked: list[int] = field(default_factory=list)

    def definitions(self, since):
        self.asked.append(since)
        parts = [b"new"] if since else [b"one", b"two"]
        return Definitions(parts, since + 1, self.series_count if since == 0 else 5)


def state_of(table, checkpoints_max=3):
    stored = {}
    return SimpleNamespace(
        table=table,
        stored=stored,
        object_name=lambda folder, suffix: f"{folder}/{len(stored)}{suffix}",
        parts=SimpleNamespace(
            objects=SimpleNamespace(put=stored.__setitem__),
            bounds=SimpleNamespace(checkpoints_max=checkpoints_max),
        ),
    )


def test_each_part_is_an_object_and_the_next_one_goes_on():
    state = state_of(Table(100))
    first = write_checkpoint(state, Checkpoint())
    assert list(state.stored.values()) == [b"one", b"two"]
    assert first == Checkpoint(tuple(state.stored), 1, 100, 2)
    second = write_checkpoint(state, first)
    assert state.table.asked == [0, 1]
    assert second == Checkpoint((*first.names, "checkpoints/2.series"), 2, 105, 2)


@pytest.mark.parametrize(
    ("names", "whole_parts", "defined", "is_whole"),
    [
        (2, 0, 0, False),
        (3, 0, 0, True),
        (4, 3, 0, False),
        (5, 3, 0, True),
        (1, 1, 150_000 + DEFINED_SPARE, False),
        (1, 1, 150_001 + DEFINED_SPARE, True),
    ],
    ids=["few", "many", "many at once", "many more", "some left", "many left"],
)
def test_it_is_written_whole(names, whole_parts, defined, is_whole):
    state = state_of(Table(100_000))
    before = Checkpoint(tuple(f"old/{at}" for at in range(names)), 7, defined, whole_parts)
    after = write_checkpoint(state, before)
    assert state.table.asked == [0 if is_whole else 7]
    if is_whole:
        assert after == Checkpoint(tuple(state.stored), 1, 100_000, 2)
    else:
        assert after.names == (*before.names, "checkpoints/0.series")
