"""A file system that turns read-only, as the kernel makes one that fails; and one that was so.

Needs the right to mount: a loop device with ext4, which its ``abort`` option turns read-only under
whoever writes to it.
"""

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.reliability.serving import ORRERY, TINY, Orrery, inspect, verify

START = 1_700_000_000
SETTINGS = TINY + "retention_seconds = 0\n"


def run(*command: str) -> subprocess.CompletedProcess:
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator["Disk"]:
    if shutil.which("mkfs.ext4") is None:
        pytest.skip("mkfs.ext4 is not installed")
    made = Disk(tmp_path)
    if not made.mount():
        pytest.skip("mounting a loop device is not permitted here")
    yield made
    made.unmount()


class Disk:
    def __init__(self, folder: Path) -> None:
        self.image = folder / "image"
        self.path = folder / "disk"
        self.path.mkdir()
        with self.image.open("wb") as file:
            file.truncate(48 * 1024 * 1024)
        assert run("mkfs.ext4", "-q", "-F", str(self.image)).returncode == 0

    def mount(self, *options: str) -> bool:
        named = ",".join(("loop", *options))
        return run("mount", "-o", named, str(self.image), str(self.path)).returncode == 0

    def fail(self) -> None:
        """From now on every write is refused, also through files that are open."""
        assert run("mount", "-o", "remount,abort", str(self.path)).returncode == 0

    def unmount(self) -> None:
        run("umount", str(self.path))


def line(number: int) -> str:
    return f"cpu,series=1 value={number} {START + number}000000000"


def expected(count: int) -> dict[tuple[int, int], float]:
    return {(1, START + number): float(number) for number in range(count)}


def test_reads_go_on_while_writes_are_refused_and_a_restart_has_everything(disk: "Disk") -> None:
    with Orrery(disk.path, SETTINGS) as server:
        for number in range(3):
            assert server.write(line(number))[0] == 204
        server.compact()
        for number in range(3, 6):
            assert server.write(line(number))[0] == 204
        disk.fail()
        for number in range(6, 9):
            status, body = server.write(line(number))
            assert status == 503
            assert "Read-only file system" in json.loads(body)["error"]
            assert server.samples("cpu", START, START + 10) == expected(6)
        status, body = server.ask("GET", "/-/ready")
        assert status == 503
        assert b"Read-only file system" in body
        assert server.ask("GET", "/-/healthy")[0] == 200
        assert server.ask("GET", "/metrics")[0] == 200
        server.process.terminate()
        server.process.wait(60)
    disk.unmount()
    assert disk.mount()
    with Orrery(disk.path, SETTINGS) as server:
        found = server.samples("cpu", START, START + 10)
        # What was refused is there or not, whole.
        assert expected(6).items() <= found.items() <= expected(9).items()
        assert server.write(line(9))[0] == 204
        server.stop()
    assert verify(disk.path / "data") == (0, [])


@pytest.mark.soak
def test_a_start_on_a_read_only_directory_says_so_and_the_data_can_be_had(
    disk: "Disk", tmp_path: Path
) -> None:
    with Orrery(disk.path, SETTINGS) as server:
        assert server.write(line(0))[0] == 204
        server.stop()
    data = disk.path / "data"
    disk.unmount()
    assert disk.mount("ro")
    (tmp_path / "orrery.toml").write_text(SETTINGS)
    started = run(ORRERY, "serve", "--data-dir", str(data), "--http", "127.0.0.1:0")
    assert started.returncode == 5
    assert "Read-only file system" in started.stderr
    assert "Traceback" not in started.stderr
    assert verify(data) == (0, [])
    assert [row["part"] for row in inspect(data, "all")].count("manifest") == 1
    backed = run(ORRERY, "backup", str(tmp_path / "target"), "--data-dir", str(data))
    assert backed.returncode == 0, backed.stderr
    restored = run(ORRERY, "restore", str(tmp_path / "target"), "--data-dir", f"{tmp_path}/data")
    assert restored.returncode == 0, restored.stderr
    with Orrery(tmp_path, SETTINGS) as server:
        assert server.samples("cpu", START, START + 10) == expected(1)
        server.stop()


@pytest.mark.soak
def test_a_backup_to_a_full_or_failing_place_leaves_none_and_is_made_later(
    disk: "Disk", tmp_path: Path
) -> None:
    with Orrery(tmp_path, SETTINGS) as server:
        assert server.write(line(0))[0] == 204
        server.compact()
        filler = disk.path / "filler"
        filler.write_bytes(b"")
        run("fallocate", "-l", "60M", str(filler))
        with filler.open("ab") as file:
            try:
                while True:
                    file.write(bytes(4096))
                    file.flush()
            except OSError:
                pass
        target = disk.path / "target"
        command = (ORRERY, "backup", str(target), "--data-dir", str(server.data))
        full = run(*command)
        assert full.returncode == 5
        assert "No space left on device" in full.stderr
        filler.unlink()
        assert run(*command).returncode == 0
        disk.fail()
        failed = run(*command)
        assert failed.returncode == 5
        assert "Read-only file system" in failed.stderr
        # The server never noticed.
        assert server.write(line(1))[0] == 204
        server.stop()
    assert run(ORRERY, "verify", str(target)).returncode == 0
