"""The manifest: which blocks are live, from where the log is replayed, who owns the partition.

One object a version, changed by put-if-absent of the next one (docs/formats/manifest.md).
Called by the engine and by ``store.inspect``.
"""

import contextlib

import msgspec

from orrery.errors import Unavailable
from orrery.objects.contract import Objects
from orrery.store.documents import decode_document, encode_document

MANIFEST_FORMAT = 1
# Old versions are kept for a look at what happened, not for correctness.
VERSIONS_KEPT = 8
_ATTEMPTS_MAX = 16


class Fenced(Unavailable):
    """Another owner has taken the partition: this one must stop."""


class BlockEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A live block. Times are inclusive; offsets are those of the log records it holds.

    Deletes at offsets up to ``deletes_through`` are already out of it.
    """

    name: str
    min_ns: int
    max_ns: int
    offset_first: int
    offset_last: int
    deletes_through: int
    level: int
    sample_count: int
    byte_count: int
    resolution_ns: int
    tenant_count: int


class DeleteEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A delete that some block still needs: hides samples of smaller offsets, ends inclusive."""

    offset: int
    tenant: str
    matchers: tuple[tuple[str, str, str], ...]
    min_ns: int
    max_ns: int
    made_at_ns: int


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``next_offset``: replay starts there. ``checkpoints``: objects with series definitions, to
    be loaded in order; ``metadata``: the object with metric metadata, or empty."""

    epoch: int = 0
    next_offset: int = 0
    made_at_ns: int = 0
    blocks: tuple[BlockEntry, ...] = ()
    deletes: tuple[DeleteEntry, ...] = ()
    checkpoints: tuple[str, ...] = ()
    metadata: str = ""

    def objects(self) -> tuple[str, ...]:
        """Names of the objects that it lists; blocks are files of their own."""
        return (*self.checkpoints, self.metadata) if self.metadata else self.checkpoints


def partition_prefix(partition: int) -> str:
    return f"partitions/{partition}/"


class ManifestStore:
    """Reads and commits the manifest of one partition. One thread commits at a time."""

    def __init__(self, objects: Objects, *, partition: int) -> None:
        self._objects = objects
        self._partition = partition
        self._prefix = f"{partition_prefix(partition)}manifest/"
        self._version = 0
        self._epoch = 0

    @property
    def version(self) -> int:
        return self._version

    def is_latest(self) -> bool:
        """Whether nobody, a commit of unknown outcome included, has published beyond what this
        process knows."""
        return self.versions()[-1:] == [self._version]

    def versions(self) -> list[int]:
        found = []
        for name, _ in self._objects.list(self._prefix):
            stem = name.removeprefix(self._prefix).removesuffix(".json")
            if len(stem) == 20 and stem.isdigit():
                found.append(int(stem))
        return sorted(found)

    def read(self, version: int) -> Manifest | None:
        name = self._name(version)
        content = self._objects.get(name)
        if content is None:
            return None
        return decode_document(content, Manifest, name=name, format_version=MANIFEST_FORMAT)

    def latest(self) -> tuple[int, Manifest]:
        """The highest version; version 0, which is never stored, is the empty manifest."""
        for _ in range(_ATTEMPTS_MAX):
            versions = self.versions()
            if not versions:
                return 0, Manifest()
            manifest = self.read(versions[-1])
            # None: pruned between the two calls, so there is a higher one by now.
            if manifest is not None:
                return versions[-1], manifest
        raise Unavailable(
            f"cannot read the manifest of partition {self._partition}: it changes too fast"
        )

    def take_epoch(self, now_ns: int) -> Manifest:
        """Makes this process the owner: every owner before it fails at its next commit."""
        for _ in range(_ATTEMPTS_MAX):
            version, found = self.latest()
            owned = msgspec.structs.replace(found, epoch=found.epoch + 1, made_at_ns=now_ns)
            if self._win(version + 1, encode_manifest(owned)):
                self._version, self._epoch = version + 1, owned.epoch
                self._prune()
                return owned
        raise Unavailable(
            f"cannot take partition {self._partition}: others take it again and again"
        )

    def commit(self, manifest: Manifest) -> None:
        """Publishes the next version. ``Unavailable``: whether it was is unknown, try again with
        any manifest; ``Fenced``: another owner has the partition, nothing more can be committed.
        """
        assert manifest.epoch == self._epoch, "a manifest names its writer's epoch"
        content = encode_manifest(manifest)
        first = self._version + 1
        for number in range(first, first + _ATTEMPTS_MAX):
            if self._win(number, content):
                self._version = number
                self._prune()
                return
            # A commit of ours whose outcome was unknown is gone beyond. It may not be durable,
            # whatever can be read now: only what was put without an error stands for certain.
            if not self._is_own(number):
                self._raise_fenced()
        raise Unavailable(f"cannot commit version {first} of partition {self._partition}: all fail")

    def _is_own(self, version: int) -> bool:
        """Nobody else has this epoch."""
        found = self.read(version)
        return found is not None and found.epoch == self._epoch

    def _win(self, version: int, content: bytes) -> bool:
        """Put-if-absent, and no higher version beside it: a number that was pruned cannot be won
        again by a writer that slept through the versions above."""
        won = self._objects.put_if_absent(self._name(version), content)
        return won and self._is_highest(version)

    def _is_highest(self, version: int) -> bool:
        if self.versions()[-1] == version:
            return True
        self._objects.delete(self._name(version))
        return False

    def _raise_fenced(self) -> None:
        version, found = self.latest()
        verb = f"cannot commit version {self._version + 1} of partition {self._partition}"
        if found.epoch > self._epoch:
            raise Fenced(f"{verb}: epoch {found.epoch} has taken over from epoch {self._epoch}")
        raise Fenced(f"{verb}: version {version} of epoch {found.epoch} stands above it")

    def _prune(self) -> None:
        # The commit stands whether or not this works; the next one tries again.
        with contextlib.suppress(Unavailable):
            for version in self.versions():
                if version <= self._version - VERSIONS_KEPT:
                    self._objects.delete(self._name(version))

    def _name(self, version: int) -> str:
        return f"{self._prefix}{version:020d}.json"


def encode_manifest(manifest: Manifest) -> bytes:
    return encode_document(manifest, format_version=MANIFEST_FORMAT)
