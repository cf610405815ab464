"""The manifest: one winner a version, no version twice, epochs fence, damage is named."""

import threading
from concurrent.futures import ThreadPoolExecutor

import msgspec
import pytest

from orrery.errors import Corrupt, Invalid, Unavailable
from orrery.objects.memory import MemoryObjects
from orrery.store.manifest import VERSIONS_KEPT, Fenced, Manifest, ManifestStore

PREFIX = "partitions/0/manifest/"


def store(objects):
    return ManifestStore(objects, partition=0)


def owner(objects):
    manifests = store(objects)
    return manifests, manifests.take_epoch(0)


def advanced(manifest, next_offset):
    return msgspec.structs.replace(manifest, next_offset=next_offset)


def test_commits_are_read_back_and_old_versions_pruned():
    objects = MemoryObjects()
    manifests, manifest = owner(objects)
    for number in range(20):
        manifests.commit(advanced(manifest, number))
    assert store(objects).latest() == (21, advanced(manifest, 19))
    assert len(list(objects.list(PREFIX))) == VERSIONS_KEPT


def test_racing_owners_get_different_epochs():
    objects = MemoryObjects()
    barrier = threading.Barrier(4)

    def race(_):
        barrier.wait()
        return owner(objects)[1].epoch

    with ThreadPoolExecutor(4) as pool:
        assert sorted(pool.map(race, range(4))) == [1, 2, 3, 4]


def test_a_lower_epoch_is_fenced():
    objects = MemoryObjects()
    manifests, manifest = owner(objects)
    owner(objects)
    with pytest.raises(Fenced, match="epoch 2 has taken over from epoch 1"):
        manifests.commit(advanced(manifest, 5))
    assert store(objects).latest()[1].next_offset == 0


def test_a_pruned_version_cannot_be_won_again():
    objects = MemoryObjects()
    sleeper, manifest = owner(objects)
    awake, theirs = owner(objects)
    for number in range(VERSIONS_KEPT + 5):
        awake.commit(advanced(theirs, number))
    assert objects.get(f"{PREFIX}{2:020d}.json") is None
    with pytest.raises(Fenced):
        sleeper.commit(advanced(manifest, 99))
    assert objects.get(f"{PREFIX}{2:020d}.json") is None
    assert store(objects).latest()[1].next_offset == VERSIONS_KEPT + 4


class Unsure(MemoryObjects):
    """The next put-if-absent fails; ``lands`` says whether it happens all the same."""

    lands: bool | None = None

    def put_if_absent(self, name, content):
        lands, self.lands = self.lands, None
        if lands is None:
            return super().put_if_absent(name, content)
        if lands:
            super().put_if_absent(name, content)
        raise Unavailable("cannot put: time ran out")


def test_a_commit_of_unknown_outcome_that_landed_is_gone_beyond():
    objects = Unsure()
    manifests, manifest = owner(objects)
    objects.lands = True
    with pytest.raises(Unavailable, match="time ran out"):
        manifests.commit(advanced(manifest, 1))
    assert not manifests.is_latest()
    manifests.commit(advanced(manifest, 2))
    assert manifests.is_latest()
    assert store(objects).latest() == (3, advanced(manifest, 2))


def test_a_commit_that_was_sent_twice_is_gone_beyond():
    class Twice(MemoryObjects):
        is_doubling = False

        def put_if_absent(self, name, content):
            was, self.is_doubling = self.is_doubling, False
            if was:
                super().put_if_absent(name, content)
            return super().put_if_absent(name, content)

    objects = Twice()
    manifests, manifest = owner(objects)
    objects.is_doubling = True
    manifests.commit(advanced(manifest, 1))
    assert store(objects).latest() == (3, advanced(manifest, 1))


def test_a_commit_that_did_not_land_may_be_tried_again():
    objects = Unsure()
    manifests, manifest = owner(objects)
    objects.lands = False
    with pytest.raises(Unavailable, match="time ran out"):
        manifests.commit(advanced(manifest, 1))
    manifests.commit(advanced(manifest, 2))
    assert store(objects).latest() == (2, advanced(manifest, 2))


def test_an_empty_partition_has_the_empty_manifest():
    assert store(MemoryObjects()).latest() == (0, Manifest())


@pytest.mark.parametrize(
    ("change", "kind", "cause"),
    [
        (lambda text: text.replace(b'"format":1', b'"format":2'), Invalid, "format is 2.*upgrade"),
        (lambda text: text.replace(b'"epoch":1', b'"epoch":2'), Corrupt, "checksum is wrong"),
        (lambda text: text[:-10], Corrupt, "cannot read 'partitions/0/manifest/0*1.json'"),
        (lambda _: b"", Corrupt, "cannot read"),
    ],
    ids=["newer", "flipped", "cut", "empty"],
)
def test_what_cannot_be_read_is_named(change, kind, cause):
    objects = MemoryObjects()
    owner(objects)
    name = f"{PREFIX}{1:020d}.json"
    objects.put(name, change(objects.get(name)))
    with pytest.raises(kind, match=cause):
        store(objects).latest()


def test_an_unknown_field_is_refused():
    from orrery.store.documents import encode_document

    objects = MemoryObjects()
    fields = {**msgspec.structs.asdict(Manifest()), "colour": "red"}
    objects.put(f"{PREFIX}{1:020d}.json", encode_document(fields, format_version=1))
    with pytest.raises(Corrupt, match="colour"):
        store(objects).latest()
