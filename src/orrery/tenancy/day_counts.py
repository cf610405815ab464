"""Keeps what each tenant wrote today across restarts, for ``samples_per_day``.

``app`` restores once before it serves, and saves now and then and when it stops; what a crash
loses is what was admitted since the last save.
"""

from msgspec import Struct

from orrery.objects.contract import Objects
from orrery.store.documents import decode_document, encode_document
from orrery.tenancy.admission import Admission

NAME = "usage/day"
FORMAT = 1


class _Day(Struct, frozen=True, forbid_unknown_fields=True):
    day: int
    counts: dict[str, int]


class DayCounts:
    def __init__(self, *, objects: Objects, admission: Admission) -> None:
        self._objects = objects
        self._admission = admission
        self._saved: bytes | None = None

    def save(self) -> None:
        """Writes only where something changed."""
        day, counts = self._admission.day_counts()
        content = encode_document(_Day(day, counts), format_version=FORMAT)
        if counts and content != self._saved:
            self._objects.put(NAME, content)
            self._saved = content

    def restore(self) -> None:
        content = self._objects.get(NAME)
        if content is not None:
            kept = decode_document(content, _Day, name=NAME, format_version=FORMAT)
            self._admission.restore_day_counts(kept.day, kept.counts)
