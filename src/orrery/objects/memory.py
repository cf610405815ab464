"""Objects in memory: for tests, the simulation and stores that nobody keeps."""

import threading
from collections.abc import Iterator

from orrery.objects.contract import check_name, check_prefix, check_range


class MemoryObjects:
    """Forgets everything with the process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._contents: dict[str, bytes] = {}

    def put(self, name: str, content: bytes) -> None:
        check_name(name)
        with self._lock:
            self._contents[name] = bytes(content)

    def put_if_absent(self, name: str, content: bytes) -> bool:
        check_name(name)
        with self._lock:
            if name in self._contents:
                return False
            self._contents[name] = bytes(content)
            return True

    def get(self, name: str, start: int = 0, length: int | None = None) -> bytes | None:
        check_name(name)
        check_range(name, start, length)
        with self._lock:
            content = self._contents.get(name)
        if content is None:
            return None
        return content[start:] if length is None else content[start : start + length]

    def list(self, prefix: str) -> Iterator[tuple[str, int]]:
        check_prefix(prefix)
        with self._lock:
            found = [(n, len(c)) for n, c in self._contents.items() if n.startswith(prefix)]
        return iter(sorted(found))

    def delete(self, name: str) -> None:
        check_name(name)
        with self._lock:
            self._contents.pop(name, None)
