"""Objects: immutable named bytes, the first of the two storage primitives (DESIGN section 2)."""

from collections.abc import Iterator
from typing import Protocol


class Objects(Protocol):
    """Put, put-if-absent, ranged get, list and delete; atomic per object, durable on return.

    Names are ``/``-separated paths of ``[A-Za-z0-9._=-]`` parts. Calls block and may come from any
    thread. ``Unavailable`` means try again; ``Invalid`` a name or range that cannot be.
    """

    def put(self, name: str, content: bytes) -> None:
        """Creates or replaces the object; readers see the old bytes or the new, never a mix."""

    def put_if_absent(self, name: str, content: bytes) -> bool:
        """True where this call created the object; exactly one of many racing calls wins."""

    def get(self, name: str, start: int = 0, length: int | None = None) -> bytes | None:
        """Bytes from ``start``, at most ``length``; None where there is no such object."""

    def list(self, prefix: str) -> Iterator[tuple[str, int]]:
        """(name, size in bytes) of every object below ``prefix``, in byte order of the names."""

    def delete(self, name: str) -> None:
        """Removes the object; removing what is not there is no error."""
