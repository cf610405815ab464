"""Reads every byte of every backup at a target; called by ``offline`` for ``orrery verify``."""

from collections.abc import Iterator

from orrery.errors import Invalid, OrreryError
from orrery.objects.contract import Objects
from orrery.transfer.backup import Row
from orrery.transfer.catalog import (
    Backup,
    Part,
    Piece,
    backup_ids,
    backup_name,
    part_name,
    read_backup,
    read_part,
)

FILES_NAMED_MAX = 3


def verify(target: Objects) -> Iterator[Row]:
    """A row a backup and a row a part; what is damaged says which files are spoilt, from where."""
    ids = backup_ids(target)
    if not ids:
        raise Invalid("cannot verify: there is no backup at this place")
    checked: dict[Part, str | None] = {}
    for backup_id in ids:
        row: Row = {"part": "backup", "file": backup_name(backup_id)}
        try:
            backup = read_backup(target, backup_id)
        except OrreryError as error:
            yield {**row, "ok": False, "error": str(error)}
            continue
        yield {**row, "ok": True}
        yield from _verify_parts(target, backup, checked)


def _verify_parts(
    target: Objects, backup: Backup, checked: dict[Part, str | None]
) -> Iterator[Row]:
    """A part that several backups share is read once; where it is bad, each of them says so."""
    for piece in backup.pieces:
        position = 0
        for part in piece.parts:
            is_new = part not in checked
            if is_new:
                checked[part] = _damage(target, part)
            error = checked[part]
            row: Row = {"part": "backup part", "file": part_name(part)}
            if error is not None:
                spoilt = _spoilt(piece, position, position + part.byte_count)
                yield {**row, "ok": False, "error": error, "backup": backup.id, "holds": spoilt}
            elif is_new:
                yield {**row, "ok": True}
            position += part.byte_count


def _damage(target: Objects, part: Part) -> str | None:
    try:
        read_part(target, part)
    except OrreryError as error:
        return str(error)
    return None


def _spoilt(piece: Piece, start: int, end: int) -> list[str]:
    """The first of the files that have bytes in the part, with where in them it begins."""
    found, at = [], 0
    for file in piece.files:
        if at < end and at + file.byte_count > start:
            found.append(f"{file.path} from byte {max(0, start - at)}")
        at += file.byte_count
    more = len(found) - FILES_NAMED_MAX
    return [*found[:FILES_NAMED_MAX], f"{more} more"] if more > 0 else found
