"""Starting and stopping: at once, with nothing lost, and one process a directory."""

import http.client
import subprocess
import threading
from pathlib import Path

from tests.reliability.serving import ORRERY, TINY, Orrery, verify

START_SECOND = 1_700_000_000
# What the issue promises is less than one second on a machine that is not busy otherwise.
START_SECONDS_MAX = 5.0
STOP_SECONDS_MAX = 10.0


def test_an_empty_directory_is_served_at_once_and_left_at_once(tmp_path: Path) -> None:
    with Orrery(tmp_path, "") as server:
        assert server.start_seconds < START_SECONDS_MAX
        assert server.stop() < STOP_SECONDS_MAX


def test_a_second_process_is_told_which_one_has_the_directory(tmp_path: Path) -> None:
    with Orrery(tmp_path) as server:
        command = [ORRERY, "serve", "--data-dir", str(server.data), "--http", "127.0.0.1:0"]
        second = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert second.returncode == 5
        assert f"process {server.process.pid} has it open" in second.stderr
        assert "Traceback" not in second.stderr
        assert server.write("after value=1 1700000000000000000")[0] == 204


def test_a_taken_port_is_named(tmp_path: Path) -> None:
    with Orrery(tmp_path) as server:
        address = f"127.0.0.1:{server.port}"
        command = [ORRERY, "serve", "--data-dir", str(tmp_path / "other"), "--http", address]
        second = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert second.returncode == 5
        assert str(server.port) in second.stderr
        assert "Traceback" not in second.stderr


class Writer(threading.Thread):
    """One sample a request, each second once; remembers what was acknowledged."""

    def __init__(self, server: Orrery, series: int) -> None:
        super().__init__()
        self.server = server
        self.series = series
        self.acknowledged: list[int] = []
        self.sent_second = START_SECOND

    def run(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=30)
        try:
            while True:
                at = self.sent_second
                line = f"load,series={self.series} value={at} {at * 10**9}"
                connection.request("POST", "/write", line)
                answer = connection.getresponse()
                answer.read()
                if answer.status == 204:
                    self.acknowledged.append(at)
                self.sent_second += 1
        except (OSError, http.client.HTTPException):
            return
        finally:
            connection.close()


def test_stopping_under_load_loses_nothing(tmp_path: Path) -> None:
    certain: dict[tuple[int, int], float] = {}
    for life in range(2):
        with Orrery(tmp_path, TINY) as server:
            writers = [Writer(server, life * 4 + number) for number in range(4)]
            for writer in writers:
                writer.start()
            while min(len(writer.acknowledged) for writer in writers) < 50:
                writers[0].join(0.01)
            assert server.stop() < STOP_SECONDS_MAX
            assert "Traceback" not in server.said()
            assert "_failed" not in " ".join(server.events())
        for writer in writers:
            writer.join(30)
            certain |= {(writer.series, at): float(at) for at in writer.acknowledged}
    end = max(writer.sent_second for writer in writers) + 10_000
    with Orrery(tmp_path, TINY) as server:
        # All was flushed when it stopped: there is nothing to replay.
        assert "event=replay_done records=0" in server.said()
        found = server.samples("load", START_SECOND, end)
        assert certain.items() <= found.items()
        server.stop()
    assert verify(tmp_path / "data") == (0, [])
