"""An object store and a core that fail as their contracts say they may."""

from orrery.errors import Unavailable
from orrery.store.native import NativeKernels


class FaultyObjects:
    """Requests are lost, happen although they are answered with an error, happen late, and happen
    twice. ``rate`` is the share of calls that go wrong."""

    def __init__(self, inner, chance):
        self.inner = inner
        self.chance = chance
        self.rate = 0.0
        self._late = []

    def put(self, name, content):
        self._faulty(lambda: self.inner.put(name, content), name)

    def put_if_absent(self, name, content):
        return self._faulty(lambda: self.inner.put_if_absent(name, content), name)

    def delete(self, name):
        self._faulty(lambda: self.inner.delete(name), name)

    def get(self, name, start=0, length=None):
        if self.chance.random() < self.rate:
            raise Unavailable(f"cannot read object {name!r}: simulated")
        return self.inner.get(name, start, length)

    def list(self, prefix):
        if self.chance.random() < self.rate:
            raise Unavailable(f"cannot list objects below {prefix!r}: simulated")
        return self.inner.list(prefix)

    def deliver(self):
        """What was under way arrives, if it has not been lost."""
        late, self._late = self._late, []
        for call in late:
            if self.chance.random() < 0.7:
                call()

    def _faulty(self, call, name):
        if self.chance.random() >= self.rate:
            return call()
        outcome = self.chance.choice(("lost", "done", "late", "twice"))
        if outcome == "twice":
            # A client that tries again by itself: the answer is that of the second request.
            call()
            return call()
        if outcome == "done":
            call()
        elif outcome == "late":
            self._late.append(call)
        raise Unavailable(f"cannot reach object {name!r}: simulated, {outcome}")


class FaultyKernels(NativeKernels):
    """The core writes and maps block files by itself: here it does so on the simulated disk. What
    it writes is synced when the call returns, as ``write_block`` promises."""

    def __init__(self, disk):
        self.disk = disk

    def open_block(self, path):
        try:
            self.disk.enter("read", self._path(path), kills=False)
        except OSError as error:
            raise Unavailable(f"cannot open block {path!r}: {error}") from error
        return super().open_block(path)

    def write_block(self, sources, deletes, path, **options):
        target = self._path(path)
        # What a write that is cut off leaves behind is torn like any other file.
        made = super().write_block(sources, deletes, path, **options)
        if made is None:
            return None
        try:
            self.disk.enter("write", target)
            if self.disk.space_left is not None:
                if made.byte_count > self.disk.space_left:
                    raise OSError(28, "No space left on device", path)
                self.disk.space_left -= made.byte_count
            self.disk.enter("sync", target)
        except OSError as error:
            target.unlink(missing_ok=True)
            raise Unavailable(f"cannot write block {path!r}: {error}") from error
        except BaseException:
            self.disk.adopt(target, is_synced=False)
            raise
        self.disk.adopt(target, is_synced=True)
        return made

    def _path(self, path):
        return self.disk.root / path
