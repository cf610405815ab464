"""Reads every stored byte of a data directory and names what is damaged: ``orrery verify``.

Called by ``offline``; a server may be running, so what goes away while it is read was let go of
and is passed over. Every row has ``part``, ``file`` (below the data directory) and ``ok``; one of
damage also ``error`` and, where they are known, ``tenant``, ``min_ns``, ``max_ns``, ``offset``.
"""

import contextlib
import re
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from orrery.durable import Disk
from orrery.errors import Corrupt, OrreryError
from orrery.log.segment import read_segment, segments
from orrery.objects.local import LocalObjects
from orrery.store.documents import UNREADABLE, check_document
from orrery.store.kernels import Kernels
from orrery.store.layout import DataDirectory
from orrery.store.manifest import BlockEntry, Manifest, ManifestStore, partition_prefix
from orrery.store.metadata import Metadata

Row = dict[str, object]
AUDIT_FILE = "audit.log"
_PARTITIONS = "partitions/"
_STORE_OWN = re.compile(r"partitions/[0-9]+/(manifest|checkpoints|metadata)/")
_OFFSET = re.compile(r"offset ([0-9]+)")
_VERSION = re.compile(r"(.+)/([0-9]{12})")


class Verification:
    """Of one directory; nothing in it is changed."""

    def __init__(self, path: Path, *, kernels: Kernels) -> None:
        self._directory = DataDirectory(path)
        self._directory.check_format()
        self._kernels = kernels
        self._disk = Disk()
        self._objects = LocalObjects(self._directory.objects_path, owned=False)

    def rows(self) -> Iterator[Row]:
        partitions = self._partitions()
        for partition in partitions:
            yield from self._manifests(partition)
            yield from self._objects_of(partition)
        yield from self._documents()
        for partition in partitions:
            yield from self._log(partition)
            yield from self._blocks(partition)
        if not partitions:
            yield from self._without_manifest()
        yield from self._audit()

    def _partitions(self) -> list[int]:
        names = {name.split("/")[1] for name, _ in self._objects.list(_PARTITIONS)}
        return sorted(int(name) for name in names if name.isdigit())

    def _latest(self, partition: int) -> Manifest | None:
        """None where it cannot be read: then ``_manifests`` has named it."""
        with contextlib.suppress(OrreryError):
            return ManifestStore(self._objects, partition=partition).latest()[1]
        return None

    def _without_manifest(self) -> Iterator[Row]:
        """Nothing was ever stored, or what says so is gone."""
        found = [*self._block_names(), *self._directory.log_path.glob("*/*.log")]
        if found:
            cause = f"there is no manifest, yet there are {len(found)} blocks and segments"
            yield {"part": "manifest", "file": f"objects/{_PARTITIONS}", "ok": False} | {
                "error": cause
            }

    # --- documents

    def _manifests(self, partition: int) -> Iterator[Row]:
        store = ManifestStore(self._objects, partition=partition)
        versions = store.versions()
        if not versions:
            folder = f"objects/{partition_prefix(partition)}manifest/"
            yield {"part": "manifest", "file": folder, "ok": False, "error": "there is none"}
        epoch = 0
        for at, version in enumerate(versions):
            row: Row = {"part": "manifest", "partition": partition, "version": version}
            row["file"] = f"objects/{partition_prefix(partition)}manifest/{version:020d}.json"
            if at and versions[at - 1] != version - 1:
                yield {**row, "ok": False, "error": f"version {version - 1} is missing before it"}
            try:
                manifest = store.read(version)
                if manifest is not None and manifest.epoch < epoch:
                    raise Corrupt(f"its epoch {manifest.epoch} is lower than that before")
                epoch = max(epoch, manifest.epoch if manifest is not None else 0)
                yield {**row, "ok": True}
            except OrreryError as error:
                yield {**row, "ok": False, "error": str(error)}

    def _objects_of(self, partition: int) -> Iterator[Row]:
        """Checkpoints and metadata, parsed as opening would."""
        for name in sorted(self._listed_objects(partition)):
            row: Row = {"part": "object", "file": f"objects/{name}"}
            yield _checked(row, lambda name=name: self._load(partition, name))  # type: ignore[misc]

    def _load(self, partition: int, name: str) -> None:
        content = self._objects.get(name)
        if content is None:
            if name in self._listed_objects(partition):
                raise FileNotFoundError("the manifest lists it, and it is missing")
        elif name.endswith(".series"):
            self._kernels.series_table().load_definitions(content)
        else:
            Metadata(per_tenant_max=2**62).load(content, name=name)

    def _listed_objects(self, partition: int) -> set[str]:
        manifest = self._latest(partition)
        return set() if manifest is None else set(manifest.objects())

    def _documents(self) -> Iterator[Row]:
        """Every other object is a document: tenants, tokens, usage, quarantine, what parts add."""
        versions: dict[str, list[int]] = defaultdict(list)
        for name, _ in self._objects.list(""):
            if _STORE_OWN.match(name):
                continue
            match = _VERSION.fullmatch(name) if name.startswith("control/") else None
            if match is not None:
                versions[match[1]].append(int(match[2]))
            row: Row = {"part": "document", "file": f"objects/{name}"}
            content = self._objects.get(name)
            if content is not None:
                yield _checked(row, lambda c=content, n=name: check_document(c, name=n))  # type: ignore[misc]
        for name, found in versions.items():
            # None is ever removed (decision 0030).
            for missing in sorted(set(range(1, max(found))) - set(found)):
                file = f"objects/{name}/{missing:012d}"
                error = f"it is missing: there is version {max(found)}"
                yield {"part": "document", "file": file, "ok": False, "error": error}

    # --- log

    def _log(self, partition: int) -> Iterator[Row]:
        manifest = self._latest(partition)
        folder = self._directory.log_path / str(partition)
        found = segments(folder)
        if not found:
            row: Row = {"part": "segment", "file": f"log/{partition}/"}
            yield {**row, "ok": False, "error": "there is no segment"}
            return
        expected = None
        for at, (first, path) in enumerate(found):
            row = {"part": "segment", "file": f"log/{partition}/{path.name}"}
            try:
                scan = read_segment(self._disk, path, partition=partition, first_offset=first)
                for start, end in scan.spans:
                    self._kernels.describe_record(scan.content[start:end])
            except OrreryError as error:
                expected = None
                if path.exists():
                    yield {**row, "ok": False, "offset": first, "error": str(error)}
                continue
            row |= {"records": len(scan.spans), "torn_bytes": scan.torn_bytes}
            if expected is not None and expected != first:
                cause = f"records {expected}..{first - 1} before this segment are missing"
                yield {**row, "ok": False, "offset": expected, "error": cause}
            elif at == 0 and manifest is not None and first > manifest.next_offset:
                # The manifest may have moved on since it was read.
                manifest = self._latest(partition)
                missing = manifest is not None and first > manifest.next_offset
                cause = f"records before {first} are missing, which a replay needs"
                yield {**row, "ok": False, "error": cause} if missing else {**row, "ok": True}
            elif scan.torn_bytes and at + 1 < len(found):
                cause = f"bad frame at byte {scan.end}"
                yield {**row, "ok": False, "offset": scan.next_offset, "error": cause}
            else:
                yield {**row, "ok": True}
            expected = scan.next_offset

    # --- blocks

    def _block_names(self) -> set[str]:
        return {path.name for path in self._directory.blocks_path.glob("*.block")}

    def _listed_blocks(self, partition: int) -> list[BlockEntry]:
        manifest = self._latest(partition)
        return [] if manifest is None else list(manifest.blocks)

    def _blocks(self, partition: int) -> Iterator[Row]:
        manifest = self._latest(partition)
        if manifest is None:
            return
        for entry in manifest.blocks:
            rows = list(self._block(entry))
            is_well = all(row["ok"] for row in rows)
            if is_well or entry in self._listed_blocks(partition):
                yield from rows
        later = [name for name in self._block_names() if name[:10] > f"{manifest.epoch:010d}"]
        latest = self._latest(partition)
        for name in sorted(later) if latest is not None and latest.epoch == manifest.epoch else ():
            cause = f"it is of epoch {int(name[:10])}, the manifest is of {manifest.epoch}"
            file = f"blocks/{name}"
            yield {"part": "block", "file": file, "ok": False, "error": f"{cause}: one is missing"}

    def _block(self, entry: BlockEntry) -> Iterator[Row]:
        """A row each place that is damaged; one for the block where it cannot be opened at all."""
        path = self._directory.blocks_path / entry.name
        row: Row = {"part": "block", "file": f"blocks/{entry.name}"}
        bounds = {"min_ns": entry.min_ns, "max_ns": entry.max_ns}
        try:
            if path.stat().st_size != entry.byte_count:
                raise Corrupt(
                    f"it has {path.stat().st_size} bytes, the manifest says {entry.byte_count}"
                )
            block, _ = self._kernels.open_block(str(path))
        except (OrreryError, OSError) as error:
            yield {**row, "ok": False, **bounds, "error": str(error)}
            return
        try:
            block.verify()
        except OrreryError as error:
            places = block.damage()
            if not places:
                yield {**row, "ok": False, **bounds, **_offset(str(error)), "error": str(error)}
            for tenant, min_ns, max_ns, cause in places:
                whose = {} if tenant is None else {"tenant": tenant}
                place = {"min_ns": min_ns, "max_ns": max_ns, **_offset(cause)}
                yield {**row, "ok": False, **whose, **place, "error": cause}
        else:
            yield {**row, "ok": True}

    # --- the audit log

    def _audit(self) -> Iterator[Row]:
        """It has no checksums: only what is no line of JSON is seen."""
        path = self._directory.path / AUDIT_FILE
        if not path.exists():
            return
        row: Row = {"part": "audit", "file": AUDIT_FILE}
        with path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                try:
                    msgspec.json.decode(line)
                except UNREADABLE as error:
                    yield {**row, "ok": False, "error": f"line {number}: {error}"}
                    return
        yield {**row, "ok": True}


def _offset(cause: str) -> Row:
    """Where in the file, which the core says in words."""
    found = _OFFSET.search(cause)
    return {} if found is None else {"offset": int(found[1])}


def _checked(row: Row, check: Callable[[], object]) -> Row:
    try:
        check()
    except (OrreryError, OSError) as error:
        return {**row, "ok": False, "error": str(error)}
    return {**row, "ok": True}
