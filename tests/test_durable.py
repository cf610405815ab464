"""What is written in parts is written whole, however little of it the system takes at a time."""

import os

import pytest

from orrery.durable import PARTS_MAX, Disk

PARTS = [b"one", b"", b"two and more", b"three"]


def written(path, parts):
    disk = Disk()
    descriptor = disk.open(path, os.O_WRONLY | os.O_CREAT)
    try:
        disk.write_parts(descriptor, parts)
    finally:
        disk.close(descriptor)
    return path.read_bytes()


@pytest.mark.parametrize("taken", range(1, 21))
def test_a_short_write_is_gone_on_with(tmp_path, monkeypatch, taken):
    def writev(descriptor, parts):
        return os.write(descriptor, b"".join(parts)[:taken])

    monkeypatch.setattr(os, "writev", writev)
    assert written(tmp_path / "file", PARTS) == b"".join(PARTS)


def test_more_parts_than_the_system_takes_at_once(tmp_path):
    parts = [b"%d," % number for number in range(2 * PARTS_MAX + 1)]
    assert written(tmp_path / "file", parts) == b"".join(parts)
