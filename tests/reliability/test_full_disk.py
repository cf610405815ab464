"""A disk that is full or fails: writes are refused with the reason, reads go on, nothing is lost,
and writes go on by themselves once there is room."""

import json
import shutil
from pathlib import Path

from tests.reliability.serving import TINY, Orrery, verify

START_SECOND = 1_700_000_000


def lines(first_second: int, count: int) -> str:
    """A new series with every call, so that a refused write may leave a definition unwritten."""
    return "\n".join(
        f"full,series={series},begun={first_second} value={second} {second * 10**9}"
        for second in range(first_second, first_second + count)
        for series in range(20)
    )


def expected(seconds: list[int], count: int) -> dict[tuple[int, int], float]:
    return {
        (series, at): float(at)
        for first in seconds
        for at in range(first, first + count)
        for series in range(20)
    }


def test_below_the_reserve_writes_are_refused_and_the_rest_goes_on(tmp_path: Path) -> None:
    with Orrery(tmp_path) as server:
        assert server.write(lines(START_SECOND, 5))[0] == 204
        server.stop()
    free = shutil.disk_usage(tmp_path).free
    reserved = TINY.replace("disk_free_bytes_min = 0", f"disk_free_bytes_min = {free * 2}")
    with Orrery(tmp_path, reserved) as server:
        status, body = server.write(lines(START_SECOND + 5, 5))
        assert status == 503
        assert f"{free * 2} are kept in reserve" in json.loads(body)["error"]
        end = START_SECOND + 20
        assert server.samples("full", START_SECOND, end) == expected([START_SECOND], 5)
        assert server.delete("full", start=START_SECOND, end=START_SECOND + 1) == 204
        assert server.samples("full", START_SECOND, end) == expected([START_SECOND + 2], 3)
        server.stop()
    with Orrery(tmp_path) as server:
        assert server.write(lines(START_SECOND + 5, 5))[0] == 204
        assert server.samples("full", START_SECOND, end) == expected([START_SECOND + 2], 8)


def test_a_write_the_disk_refuses_is_refused_and_later_ones_go_on(tmp_path: Path) -> None:
    written: list[int] = []
    refused: list[int] = []
    with Orrery(tmp_path) as server:
        second = START_SECOND
        for full in (False, True, False, True, False):
            size = max(path.stat().st_size for path in (server.data / "log" / "0").iterdir())
            # Room for a part of the next write only: it must be cut off again.
            server.limit_file_bytes(size + 100 if full else 1 << 40)
            for _ in range(3):
                status, body = server.write(lines(second, 5))
                (refused if full else written).append(second)
                assert status == (503 if full else 204), body
                if full:
                    assert b"File too large" in body
                assert server.samples("full", START_SECOND, second + 9) == expected(written, 5)
                second += 5
        assert server.ask("GET", "/-/ready")[0] == 200
        server.kill()
    with Orrery(tmp_path) as server:
        assert server.samples("full", START_SECOND, second) == expected(written, 5)
        server.stop()
    assert len(refused) == 6
    assert verify(tmp_path / "data") == (0, [])


def test_a_flush_the_disk_refuses_loses_nothing_and_is_done_later(tmp_path: Path) -> None:
    end = START_SECOND + 9
    with Orrery(tmp_path) as server:
        assert server.write(lines(START_SECOND, 5))[0] == 204
        # No block, checkpoint or manifest is as short as this.
        server.limit_file_bytes(64)
        steps = server.compact()
        assert "File too large" in steps[-1]["error"], steps
        assert server.samples("full", START_SECOND, end) == expected([START_SECOND], 5)
        server.limit_file_bytes(1 << 40)
        assert server.compact()[-1]["event"] == "compacted"
        assert server.samples("full", START_SECOND, end) == expected([START_SECOND], 5)
        assert server.write(lines(START_SECOND + 5, 5))[0] == 204
        server.limit_file_bytes(64)
        server.process.terminate()
        # It leaves all the same, though it could neither flush nor say so: the log has everything.
        assert server.process.wait(60) != 0
    with Orrery(tmp_path) as server:
        assert server.samples("full", START_SECOND, end) == expected([START_SECOND], 10)
        server.stop()
    assert verify(tmp_path / "data") == (0, [])
