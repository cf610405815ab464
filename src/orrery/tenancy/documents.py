"""Control documents: small values with versions, kept in ``objects`` (docs/formats/control.md).

Version N of a document is the object ``control/<name>/<N>``; a change writes N+1 by put-if-absent,
so of many racing writers one wins and the others read again. No version is ever removed: a version
number that is free again could be won by a writer that slept (decision 0030). ``Access``,
``TenantLimits`` and ``Administration`` share one of these.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from orrery.clock import Clock
from orrery.errors import Corrupt, Invalid, Unavailable
from orrery.objects.contract import Objects

PREFIX = "control"
CACHED_MAX = 20_000
CONTENT_BYTES_MAX = 64 * 1024
ATTEMPTS_MAX = 32
VERSION_DIGITS = 12


@dataclass(frozen=True, slots=True)
class Document:
    """``version`` 0 has no content: nothing was ever written."""

    version: int
    content: bytes | None


NOTHING = Document(0, None)


@dataclass(slots=True)
class _Cached:
    document: Document
    checked_seconds: float


class Documents:
    """Reads through a bounded cache; calls may come from any thread.

    A cached document is looked at again (one read of the version that would follow it) once it is
    ``recheck_seconds`` old: so long a change made by another process may go unseen. Changes made
    through this object are seen at once.
    """

    def __init__(self, *, objects: Objects, clock: Clock, recheck_seconds: float = 0.0) -> None:
        self._objects = objects
        self._clock = clock
        self._recheck_seconds = recheck_seconds
        self._lock = threading.Lock()
        self._cache: OrderedDict[str, _Cached] = OrderedDict()

    def read(
        self, name: str, *, keep_absent: bool = True, stale_seconds_max: float = 0.0
    ) -> Document:
        """The newest version, or one that was the newest ``stale_seconds_max`` ago.

        ``keep_absent`` is off where strangers choose the names.
        """
        stale_seconds_max = max(stale_seconds_max, self._recheck_seconds)
        now = self._clock.monotonic_seconds()
        # Without the lock: what is kept is replaced, never changed.
        cached = self._cache.get(name)
        if cached is not None and now - cached.checked_seconds < stale_seconds_max:
            return cached.document
        document = self._newest(name) if cached is None else self._newer(name, cached.document)
        if document.version or keep_absent:
            self._keep(name, document, now)
        return document

    def change(self, name: str, change: Callable[[bytes | None], bytes]) -> Document:
        """Writes ``change`` of the newest content; called again where another writer was faster."""
        document = self._newest(name)
        for _ in range(ATTEMPTS_MAX):
            content = change(document.content)
            if len(content) > CONTENT_BYTES_MAX:
                raise Invalid(
                    f"cannot write document {name!r}: {len(content)} bytes, "
                    f"at most {CONTENT_BYTES_MAX}"
                )
            if self._objects.put_if_absent(_object(name, document.version + 1), content):
                written = Document(document.version + 1, content)
                self._keep(name, written, self._clock.monotonic_seconds())
                return written
            document = self._newer(name, document)
        raise Unavailable(
            f"cannot write document {name!r}: {ATTEMPTS_MAX} other writers were faster"
        )

    def names(self, prefix: str) -> list[str]:
        """Names of the documents below ``prefix``, sorted."""
        listed = self._objects.list(f"{PREFIX}/{prefix}/")
        return sorted({_parsed(name)[0] for name, _ in listed})

    def below(self, prefix: str) -> Iterator[tuple[str, Document]]:
        for name in self.names(prefix):
            yield name, self.read(name)

    def _newest(self, name: str) -> Document:
        versions = [_parsed(listed)[1] for listed, _ in self._objects.list(f"{PREFIX}/{name}/")]
        if not versions:
            return NOTHING
        return self._newer(name, self._at(name, max(versions)))

    def _newer(self, name: str, document: Document) -> Document:
        while (content := self._objects.get(_object(name, document.version + 1))) is not None:
            document = Document(document.version + 1, content)
        return document

    def _at(self, name: str, version: int) -> Document:
        content = self._objects.get(_object(name, version))
        if content is None:
            raise Corrupt(
                f"cannot read document {name!r}: version {version} was listed and is gone"
            )
        return Document(version, content)

    def _keep(self, name: str, document: Document, checked_seconds: float) -> None:
        with self._lock:
            cached = self._cache.get(name)
            if cached is not None and cached.document.version > document.version:
                return
            self._cache[name] = _Cached(document, checked_seconds)
            self._cache.move_to_end(name)
            if len(self._cache) > CACHED_MAX:
                self._cache.popitem(last=False)


def _object(name: str, version: int) -> str:
    return f"{PREFIX}/{name}/{version:0{VERSION_DIGITS}d}"


def _parsed(object_name: str) -> tuple[str, int]:
    name, _, version = object_name.removeprefix(PREFIX + "/").rpartition("/")
    if not name or len(version) != VERSION_DIGITS or not version.isdecimal():
        raise Corrupt(f"cannot read control document {object_name!r}: not a version's name")
    return name, int(version)
