"""The data directory: one owner, one format."""

import os
import subprocess
import sys

import pytest

from orrery.errors import Corrupt, Invalid, Unavailable
from orrery.store.layout import DataDirectory


def test_it_is_made_and_opened_again(tmp_path):
    path = tmp_path / "a" / "b"
    with DataDirectory(path).open():
        assert (path / "format").read_text() == "orrery data directory 1\n"
    with DataDirectory(path).open() as directory:
        directory.check_format()


def test_a_second_owner_is_told_the_first(tmp_path):
    with (
        DataDirectory(tmp_path).open(),
        pytest.raises(Unavailable, match=f"process {os.getpid()} has it open"),
    ):
        DataDirectory(tmp_path).open()
    DataDirectory(tmp_path).open().close()


def test_a_second_process_is_refused_and_the_lock_dies_with_its_owner(tmp_path):
    program = (
        "import sys; from pathlib import Path; from orrery.store.layout import DataDirectory; "
        "DataDirectory(Path(sys.argv[1])).open(); print('open')"
    )
    command = [sys.executable, "-c", program, str(tmp_path)]
    with DataDirectory(tmp_path).open():
        refused = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "has it open" in refused.stderr
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "open\n"
    DataDirectory(tmp_path).open().close()


@pytest.mark.parametrize(
    ("content", "kind", "cause"),
    [
        ("orrery data directory 2\n", Invalid, "its format is 2.*pip install --upgrade orrery-db"),
        ("something else\n", Corrupt, "says 'something else"),
        ("", Corrupt, "says ''"),
    ],
)
def test_another_format_is_refused(tmp_path, content, kind, cause):
    (tmp_path / "format").write_text(content)
    with pytest.raises(kind, match=cause):
        DataDirectory(tmp_path).open()


def test_data_without_a_format_is_damaged(tmp_path):
    (tmp_path / "log").mkdir()
    with pytest.raises(Corrupt, match="has 'log' but no file 'format'"):
        DataDirectory(tmp_path).open()
