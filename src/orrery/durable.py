"""Files that survive a power cut: what ``objects``, ``log`` and ``store`` write files with.

A name is durable only once its directory is synced, and so is a directory's own name.
"""

import os
from pathlib import Path


def sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_directory(directory: Path) -> None:
    """Creates ``directory`` and its parents, each durable before anything is put into it."""
    if directory.is_dir():
        return
    make_directory(directory.parent)
    try:
        directory.mkdir(exist_ok=True)
    except FileExistsError as error:
        raise NotADirectoryError(20, "is a file", str(directory)) from error
    sync_directory(directory.parent)


def write_file(path: Path, content: bytes) -> None:
    """Creates ``path`` with durable bytes; its name is durable once the directory is synced."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o640)
    try:
        write_all(descriptor, content)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_all(descriptor: int, content: bytes) -> None:
    """``os.write`` may write less than it was given."""
    rest = memoryview(content)
    while rest:
        rest = rest[os.write(descriptor, rest) :]
