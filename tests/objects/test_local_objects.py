"""What only the local backend has: files, leftovers, a place on disk."""

import pytest

from orrery.errors import Invalid, Unavailable
from orrery.objects.local import LocalObjects


def test_objects_survive_reopening_and_leftovers_do_not(tmp_path):
    LocalObjects(tmp_path).put("a/b", b"kept")
    leftover = tmp_path / "a" / "~12-0"
    leftover.write_bytes(b"half")
    assert [name for name, _ in LocalObjects(tmp_path, owned=False).list("")] == ["a/b"]
    assert leftover.exists()
    assert LocalObjects(tmp_path).get("a/b") == b"kept"
    assert not leftover.exists()


def test_an_object_cannot_be_a_folder(tmp_path):
    objects = LocalObjects(tmp_path)
    objects.put("a", b"")
    with pytest.raises(Invalid, match="file or folder"):
        objects.put("a/b", b"")
    assert objects.get("a/b") is None


def test_a_full_or_broken_disk_is_unavailable(tmp_path, monkeypatch):
    objects = LocalObjects(tmp_path)

    def refuse(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("orrery.durable.os.fsync", refuse)
    with pytest.raises(Unavailable, match=r"cannot put object 'a': .*No space"):
        objects.put_if_absent("a", b"x")
    monkeypatch.undo()
    assert list(objects.list("")) == []
