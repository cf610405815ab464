"""A clock that jumps: no sample is lost, none is refused that is good, time limits survive."""

import os
from pathlib import Path

import numpy as np
import pytest

from orrery.app import Engine, open_engine
from orrery.client.embedded import Embedded
from orrery.kernels.columns import decode_columns
from orrery.kernels.series import encode_series
from orrery.model.selector import Matcher, Operator
from orrery.settings import Limits, Settings
from tests.reliability.serving import TINY, Orrery

DAY = 86_400
HOUR = 3600
NOW = 1_800_000_000
RETENTION = 30 * DAY
LIBRARIES = [*Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1")]


class WallClock:
    """Its wall may be set; what passes, passes on both."""

    def __init__(self) -> None:
        self.wall = float(NOW)
        self.monotonic = 0.0

    def now_ns(self) -> int:
        return int(self.wall * 1e9)

    def monotonic_seconds(self) -> float:
        return self.monotonic

    def sleep_seconds(self, seconds: float) -> None:
        self.pass_by(seconds)

    def pass_by(self, seconds: float) -> None:
        self.wall += seconds
        self.monotonic += seconds


def opened(path: Path, clock: WallClock) -> Engine:
    limits = Limits(retention_seconds=RETENTION, sample_age_seconds=40 * DAY)
    return open_engine(path, settings=Settings(limits=limits, compaction_seconds=1000), clock=clock)


def write(engine: Engine, *seconds: float) -> int:
    """How many of the samples were taken."""
    key = encode_series("cpu", "", [("series", "1")])
    times_ns = np.array([int(second) * 10**9 for second in seconds], dtype=np.int64)
    batch = decode_columns([key], np.array([0, len(seconds)]), times_ns, np.array(seconds, float))
    return engine.accept.write("default", batch).result(30).sample_count


def read(engine: Engine) -> set[int]:
    side = Embedded(engine, tenant="default")
    matchers = (Matcher("__name__", Operator.EQUAL, "cpu"),)
    found = side.read(matchers, start_ns=0, end_ns=2**62)
    return {int(time_ns) // 10**9 for _, times_ns, _ in found for time_ns in times_ns}


def settle(engine: Engine) -> None:
    """What upkeep does in a while."""
    engine.store.flush()
    engine.store.compact()
    engine.store.maintain_blocks()


HELD = {NOW - 29 * DAY, NOW - DAY, NOW - 60}


@pytest.mark.parametrize("jump", [365 * DAY, -7 * HOUR, -365 * DAY])
def test_nothing_is_lost_while_the_clock_is_wrong_and_put_right(tmp_path: Path, jump: int) -> None:
    clock = WallClock()
    engine = opened(tmp_path, clock)
    try:
        assert write(engine, *HELD) == len(HELD)
        engine.store.flush()
        clock.wall += jump
        settle(engine)
        assert read(engine) == HELD
        # A sender whose clock is right is not refused, nor is one that is as wrong as this.
        assert write(engine, NOW + 1) == 1
        assert write(engine, NOW + jump + 1) == 1
        clock.pass_by(HOUR)
        settle(engine)
        clock.wall -= jump
        settle(engine)
        assert read(engine) >= HELD | {NOW + 1}
    finally:
        engine.close()


def test_a_restart_with_a_wrong_clock_loses_nothing(tmp_path: Path) -> None:
    clock = WallClock()
    engine = opened(tmp_path, clock)
    write(engine, *HELD)
    engine.close()
    wrong = WallClock()
    wrong.wall += 365 * DAY
    for _ in range(2):
        engine = opened(tmp_path, wrong)
        settle(engine)
        assert read(engine) == HELD
        engine.close()
    engine = opened(tmp_path, clock)
    assert read(engine) == HELD
    engine.close()


def test_retention_follows_a_jump_that_stands(tmp_path: Path) -> None:
    clock = WallClock()
    engine = opened(tmp_path, clock)
    try:
        write(engine, *HELD)
        settle(engine)
        clock.wall += 10 * DAY
        assert read(engine) == HELD
        clock.pass_by(DAY + 1)
        assert read(engine) == HELD - {NOW - 29 * DAY}
    finally:
        engine.close()


@pytest.mark.skipif(not LIBRARIES, reason="libfaketime is not installed (apt install libfaketime)")
def test_a_server_whose_clock_jumps_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "faketime"
    file.write_text("+0")
    monkeypatch.setenv("LD_PRELOAD", str(LIBRARIES[0]))
    monkeypatch.setenv("FAKETIME_TIMESTAMP_FILE", str(file))
    monkeypatch.setenv("FAKETIME_DONT_FAKE_MONOTONIC", "1")
    monkeypatch.setenv("FAKETIME_NO_CACHE", "1")
    now = int(os.stat(file).st_mtime)
    held = {(1, now - 60): 1.0}
    with Orrery(tmp_path, TINY + "retention_seconds = 86_400\n") as server:
        assert server.write(f"cpu,series=1 value=1 {now - 60}000000000")[0] == 204
        for number, jump in enumerate(["+365d", "-7h"]):
            file.write_text(jump)
            server.compact()
            assert server.write(f"cpu,series=1 value=2 {now + number}000000000")[0] == 204
            held[1, now + number] = 2.0
            assert server.samples("cpu", now - 100, now + 9) == held
            assert server.events()["clock_jumped"] == number + 1
            _, metrics = server.ask("GET", "/metrics")
            assert b"\norrery_clock_offset_seconds 0.0\n" not in metrics
        file.write_text("+0")
        assert server.samples("cpu", now - 100, now + 9) == held
        server.kill()
