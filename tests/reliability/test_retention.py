"""Retention and deletes through HTTP: what is gone stays gone across flush, compaction, restart."""

import time
from pathlib import Path

from tests.reliability.serving import TINY, Orrery

KEPT_SECONDS = 3600
KEEPING = TINY.replace("[limits]", f"[limits]\nretention_seconds = {KEPT_SECONDS}")


def lines(name: str, seconds: list[int]) -> str:
    return "\n".join(f"{name},series=1 value={at % 1000} {at * 10**9}" for at in seconds)


def seen(server: Orrery, name: str, seconds: list[int]) -> list[int]:
    found = server.samples(name, min(seconds), max(seconds))
    assert all(value == at % 1000 for (_, at), value in found.items())
    return sorted(at for _, at in found)


def test_what_is_older_than_is_kept_is_neither_taken_nor_shown(tmp_path: Path) -> None:
    now = int(time.time())
    young = [now - 60, now - 50]
    old = [now - KEPT_SECONDS - 600, now - 2 * KEPT_SECONDS]
    with Orrery(tmp_path) as server:
        assert server.write(lines("m", young + old))[0] == 204
        assert seen(server, "m", young + old) == sorted(young + old)
        server.kill()
    with Orrery(tmp_path, KEEPING) as server:
        # In the head, in blocks, and after compaction has removed it from them.
        for step in (lambda: None, server.compact):
            step()
            assert seen(server, "m", young + old) == young
            status, answer = server.query(f"count_over_time(m[{3 * KEPT_SECONDS}s])", now)
            assert (status, answer["data"]["result"][0]["value"][1]) == (200, "2")
        status, body = server.write(lines("m", [now - 2 * KEPT_SECONDS, now - 40]))
        assert status == 400
        assert b"too old" in body
        assert b"partial write" in body
        server.stop()
    with Orrery(tmp_path) as server:
        # It was removed, not only hidden: it does not come back with a longer retention.
        after = [now - 40]
        assert seen(server, "m", young + old + after) == young + after


def test_a_delete_holds_everywhere_and_spares_what_comes_after(tmp_path: Path) -> None:
    start = 1_700_000_000
    seconds = list(range(start, start + 10))
    gone, left = seconds[2:6], seconds[:2] + seconds[6:]
    with Orrery(tmp_path) as server:
        assert server.write(lines("flushed", seconds))[0] == 204
        server.compact()
        assert server.write(lines("fresh", seconds))[0] == 204
        assert server.delete("{__name__=~'fl.*|fr.*'}", start=gone[0], end=gone[-1]) == 204
        for step in (lambda: None, server.compact):
            step()
            assert [seen(server, name, seconds) for name in ("flushed", "fresh")] == [left, left]
        assert server.write(lines("fresh", gone[:2]))[0] == 204
        assert server.delete("flushed") == 204
        server.kill()
    for _ in range(2):
        with Orrery(tmp_path) as server:
            assert seen(server, "flushed", seconds) == []
            assert seen(server, "fresh", seconds) == sorted(left + gone[:2])
            server.compact()
            assert seen(server, "fresh", seconds) == sorted(left + gone[:2])
            server.stop()
