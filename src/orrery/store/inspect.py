"""Looks into a data directory without owning it: describes log, manifest and blocks.

Called by ``offline`` for ``orrery inspect``; a server may be running, so what goes away while it
is read was let go of and is passed over.
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import msgspec

from orrery.durable import Disk
from orrery.errors import OrreryError
from orrery.log.segment import Scan, read_segment, segments
from orrery.objects.local import LocalObjects
from orrery.store.kernels import Kernels
from orrery.store.layout import DataDirectory
from orrery.store.manifest import Manifest, ManifestStore, partition_prefix

Row = dict[str, object]
PARTS = ("log", "manifest", "blocks")


class Inspection:
    """Of one directory; every method reads anew."""

    def __init__(self, path: Path, *, kernels: Kernels) -> None:
        self._directory = DataDirectory(path)
        self._directory.check_format()
        self._kernels = kernels
        self._disk = Disk()
        self._objects = LocalObjects(self._directory.objects_path, owned=False)

    def describe(self, part: str = "all") -> Iterator[Row]:
        """Rows of ``log``, ``manifest``, ``blocks`` or ``all``."""
        if part in ("all", "manifest"):
            yield from self._describe_manifests()
        if part in ("all", "log"):
            yield from self._describe_log(records=part == "log")
        if part in ("all", "blocks"):
            yield from self._describe_blocks()

    def tenants(self) -> set[str]:
        """Those with samples in blocks or records in the log; damage is left to ``verify``."""
        found: set[str] = set()
        for row in self._describe_blocks():
            found.update(cast("list[str]", row.get("tenants", ())))
        for row in self._describe_log(records=True):
            if row["part"] == "record" and "tenant" in row:
                found.add(str(row["tenant"]))
        return found

    # --- manifest, checkpoints, metadata

    def _partitions(self) -> list[int]:
        names = {name.split("/")[1] for name, _ in self._objects.list("partitions/")}
        return sorted(int(name) for name in names if name.isdigit())

    def _manifests(self) -> Iterator[tuple[int, Manifest]]:
        """Those that can be read; ``_verify_manifests`` names the others."""
        for partition in self._partitions():
            with contextlib.suppress(OrreryError):
                yield partition, ManifestStore(self._objects, partition=partition).latest()[1]

    def _describe_manifests(self) -> Iterator[Row]:
        for partition in self._partitions():
            version, manifest = ManifestStore(self._objects, partition=partition).latest()
            yield {
                "part": "manifest",
                "partition": partition,
                "version": version,
                "epoch": manifest.epoch,
                "next_offset": manifest.next_offset,
                "made_at_ns": manifest.made_at_ns,
                "blocks": len(manifest.blocks),
                "deletes": len(manifest.deletes),
                "checkpoints": len(manifest.checkpoints),
            }
            for delete in manifest.deletes:
                yield {"part": "delete", "partition": partition, **msgspec.structs.asdict(delete)}
            sizes = dict(self._objects.list(partition_prefix(partition)))
            for name in manifest.objects():
                yield {"part": "object", "name": name, "bytes": sizes.get(name)}

    # --- log

    def _segments(self) -> Iterator[tuple[int, int, Path, bool]]:
        """(partition, first offset, path, whether it is the last)"""
        if not self._directory.log_path.is_dir():
            return
        for folder in sorted(self._directory.log_path.iterdir()):
            if folder.name.isdigit():
                found = segments(folder)
                for at, (first, path) in enumerate(found):
                    yield int(folder.name), first, path, at == len(found) - 1

    def _describe_log(self, *, records: bool) -> Iterator[Row]:
        for partition, first, path, _ in self._segments():
            row: Row = {"part": "segment", "partition": partition, "path": str(path)}
            try:
                scan = read_segment(self._disk, path, partition=partition, first_offset=first)
            except OrreryError as error:
                if path.exists():
                    yield {**row, "error": str(error)}
                continue
            yield {
                **row,
                "first_offset": first,
                "next_offset": scan.next_offset,
                "bytes": len(scan.content),
                "torn_bytes": scan.torn_bytes,
            }
            if records:
                yield from self._describe_records(scan)

    def _describe_records(self, scan: Scan) -> Iterator[Row]:
        for offset, (start, end) in enumerate(scan.spans, scan.first_offset):
            row: Row = {"part": "record", "offset": offset, "position": start}
            try:
                yield {**row, **self._kernels.describe_record(scan.content[start:end])}
            except OrreryError as error:
                yield {**row, "error": str(error)}

    # --- blocks

    def _listed_blocks(self) -> list[tuple[int, Row]]:
        return [
            (partition, msgspec.structs.asdict(block))
            for partition, manifest in self._manifests()
            for block in manifest.blocks
        ]

    def _describe_blocks(self) -> Iterator[Row]:
        listed = self._listed_blocks()
        for partition, entry in listed:
            row: Row = {"part": "block", "partition": partition, **entry}
            try:
                _, summary = self._kernels.open_block(str(self._block_path(entry)))
                yield {**row, "tenants": sorted(summary.tenants)}
            except (OrreryError, OSError) as error:
                yield {**row, "error": str(error)}
        names = {entry["name"] for _, entry in listed}
        if self._directory.blocks_path.is_dir():
            for path in sorted(self._directory.blocks_path.iterdir()):
                if path.name not in names:
                    yield {"part": "unlisted", "name": path.name, "bytes": path.stat().st_size}

    def _block_path(self, entry: Row) -> Path:
        return self._directory.blocks_path / str(entry["name"])
