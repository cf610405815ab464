"""What stands at a backup's target (docs/formats/backup.md): parts, backups, writers under way.

A part is named by the SHA-256 of its bytes, so what two backups share is there once. A backup is
one document, put when everything it names is there. Called by ``backup``, ``restore``, ``verify``.
"""

import hashlib
import re
from collections.abc import Iterator
from pathlib import PurePosixPath

import msgspec

from orrery.errors import Corrupt, Invalid, OrreryError
from orrery.objects.contract import Objects
from orrery.store.documents import decode_document, encode_document

FORMAT = 1
PART_BYTES_MAX = 8 * 1024 * 1024
BACKUPS = "backups/"
PARTS = "parts/"
WRITERS = "writers/"
_ID = re.compile(r"[0-9]{8}T[0-9]{6}Z-[0-9a-f]{8}")


class Part(msgspec.Struct, frozen=True, forbid_unknown_fields=True, array_like=True):
    sha256: str
    byte_count: int


class File(msgspec.Struct, frozen=True, forbid_unknown_fields=True, array_like=True):
    """``path`` is relative to the data directory, with ``/``."""

    path: str
    byte_count: int


class Piece(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Files one behind another, cut into parts: a large one alone, small ones together."""

    files: tuple[File, ...]
    parts: tuple[Part, ...]

    @property
    def byte_count(self) -> int:
        return sum(part.byte_count for part in self.parts)


class Backup(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One backup: the log's records before ``end_offset`` are in it, in blocks or as log."""

    id: str
    source: str
    began_at_ns: int
    made_at_ns: int
    manifest_version: int
    epoch: int
    next_offset: int
    end_offset: int
    pieces: tuple[Piece, ...]

    @property
    def byte_count(self) -> int:
        return sum(piece.byte_count for piece in self.pieces)

    @property
    def file_count(self) -> int:
        return sum(len(piece.files) for piece in self.pieces)

    def parts(self) -> Iterator[Part]:
        return (part for piece in self.pieces for part in piece.parts)


def part_of(content: bytes) -> Part:
    return Part(hashlib.sha256(content).hexdigest(), len(content))


def part_name(part: Part) -> str:
    return f"{PARTS}{part.sha256[:2]}/{part.sha256}"


def read_part(target: Objects, part: Part) -> bytes:
    """``Corrupt`` where it is missing or not what was put there."""
    name = part_name(part)
    content = target.get(name)
    if content is None:
        raise Corrupt(f"cannot read {name!r}: it is missing")
    if part_of(content) != part:
        raise Corrupt(f"cannot read {name!r}: it is not what its name says")
    return content


def write_backup(target: Objects, backup: Backup) -> None:
    content = encode_document(backup, format_version=FORMAT)
    if not target.put_if_absent(backup_name(backup.id), content):
        raise Invalid(f"cannot write backup {backup.id!r}: there is one of that name")


def backup_name(backup_id: str) -> str:
    return f"{BACKUPS}{backup_id}.json"


def backup_ids(target: Objects) -> list[str]:
    """In the order in which they were made."""
    names = (name.removeprefix(BACKUPS).removesuffix(".json") for name, _ in target.list(BACKUPS))
    return sorted(name for name in names if _ID.fullmatch(name))


def read_backup(target: Objects, backup_id: str) -> Backup:
    name = backup_name(backup_id)
    content = target.get(name) if _ID.fullmatch(backup_id) else None
    if content is None:
        raise Invalid(f"cannot find backup {backup_id!r}: there is none of that name")
    found = decode_document(content, Backup, name=name, format_version=FORMAT)
    for piece in found.pieces:
        _check(piece, name)
    return found


def readable_backups(target: Objects) -> Iterator[tuple[str, Backup | OrreryError]]:
    """Each backup, or what is wrong with its document."""
    for backup_id in backup_ids(target):
        try:
            yield backup_id, read_backup(target, backup_id)
        except OrreryError as error:
            yield backup_id, error


def _check(piece: Piece, name: str) -> None:
    if sum(file.byte_count for file in piece.files) != piece.byte_count:
        raise Corrupt(f"cannot read {name!r}: its files and its parts differ in length")
    for file in piece.files:
        path = PurePosixPath(file.path)
        if path.is_absolute() or ".." in path.parts or not path.parts or "\0" in file.path:
            raise Corrupt(f"cannot read {name!r}: path {file.path!r} leaves the data directory")
