"""Bytes that change on the platter, and what an operator does about it: steps of the simulation."""

from dataclasses import dataclass

import msgspec

from orrery.durable import Disk
from orrery.errors import Corrupt
from orrery.log.segment import HEADER_BYTES, read_segment, segments
from orrery.store.manifest import BlockEntry
from tests.simulation.samples import Violation


@dataclass(frozen=True)
class Damaged:
    """A block that was damaged, and what it held."""

    entry: BlockEntry
    content: bytes


def flipped(content, bit):
    out = bytearray(content)
    out[bit // 8] ^= 1 << bit % 8
    return bytes(out)


class DamageSteps:
    """Part of ``World``."""

    def step_damage(self):
        """Bytes on the platter change while no process runs."""
        if self.damaged or self.is_faulty or self.is_excused or self.disk.calls_left is not None:
            return
        what = self.chance.choice(("block", "block", "log", "object"))
        blocks = self.db.store.blocks()
        self.step_restart()
        if what == "block" and blocks:
            self._damage_block(self.chance.choice(blocks))
        elif what == "log":
            self._damage_log()
        elif what == "object":
            self._damage_object()
        if self.db is None:
            self.open()

    def _damage_block(self, entry):
        path = self.path / "blocks" / entry.name
        if not path.exists():
            return
        content = path.read_bytes()
        self.damaged = Damaged(entry, content)
        self.disk.damage(path, self._worsened(content))

    def _worsened(self, content):
        match self.chance.choice(("flip", "flip", "flip", "cut", "gone")):
            case "flip":
                return flipped(content, self.chance.randrange(len(content) * 8))
            case "cut":
                return content[: self.chance.randrange(len(content))]
        return None

    def _damage_log(self):
        """A bit of what had been synced: it is named, and nothing behind it is skipped."""
        first_offset, path = segments(self.path / "log" / "0")[-1]
        content = path.read_bytes()
        scan = read_segment(Disk(), path, partition=0, first_offset=first_offset)
        bits = range(HEADER_BYTES * 8, scan.synced * 8)
        if bits:
            self._refused(path, flipped(content, self.chance.choice(bits)))

    def _damage_object(self):
        """The newest manifest, or a checkpoint or metadata that it lists."""
        folder = self.path / "objects" / "partitions" / "0"
        newest = max((folder / "manifest").iterdir())
        document = msgspec.json.decode(newest.read_bytes())["document"]
        names = [*document["checkpoints"], *filter(None, [document["metadata"]])]
        path = self.chance.choice([newest, *(self.path / "objects" / name for name in names)])
        # The last byte is a line feed, which says nothing.
        bit = self.chance.randrange((path.stat().st_size - 1) * 8)
        self._refused(path, flipped(path.read_bytes(), bit))

    def _refused(self, path, content):
        """The store does not start on it, and says why."""
        whole = path.read_bytes()
        self.disk.damage(path, content)
        try:
            self._run()
        except Corrupt as error:
            if path.name not in str(error):
                raise Violation("damage is named", repr(error)) from error
        else:
            raise Violation("damage is named", f"it starts with {path} damaged")
        self.disk.end_process()
        self.disk.damage(path, whole)

    def step_repair(self):
        """An operator brings the block back, from a copy."""
        if self.damaged is None:
            return
        entry = self.damaged.entry
        self.end(power_cut=False)
        self.disk.damage(self.path / "blocks" / entry.name, self.damaged.content)
        self.open()
        if self.db is None:
            return
        with self.allowed():
            self.db.store.maintain_blocks()
            if any(held.block == entry.name for held in self.db.store.quarantine().held):
                self.db.store.release_block(entry.name)
        self.damaged = None

    def step_drop(self):
        """An operator lets go of what was in the block; what lay beneath may come to light."""
        if self.damaged is None or self.is_faulty or self.is_excused or self.disk.calls_left:
            # Cut off in the middle, either may have happened: an operator looks again.
            return
        entry = self.damaged.entry
        if all(held.block != entry.name for held in self.db.store.quarantine().held):
            return
        with self.allowed():
            self.db.store.drop_block(entry.name)
            self.damaged = None
            parts = [found for *_, found in self.answered()]
            found = {key: value for part in parts for key, value in part.items()}
            wrong = {key for key, value in found.items() if value not in self.written.get(key, ())}
            if wrong:
                raise Violation("nothing is invented", f"{sorted(wrong)[:6]}")
            ends = entry.min_ns, entry.max_ns
            self.models = [model for model in self.models if model.drop(*ends, found)]
            if not self.models:
                raise Violation("deleted data stays away", f"after {entry.name} was dropped")
