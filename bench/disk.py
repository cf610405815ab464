"""Bytes a sample on disk, Orrery beside VictoriaMetrics, everything in the data directory counted.

    .venv/bin/python bench/disk.py [--only NAME] [--data NAME] [--scale 1] [--node-exporter FILE]

Both get the same samples by remote write, two hours at a time, then flush and merge, and rest.
What an empty store weighs is printed apart, and so is what is left of Orrery's log: its last
segment, whatever the store holds. TSBS cpu-only is held against 0.36 bytes/sample; on the other
data sets Orrery must not be worse than its peer. FILE is what bench/scrapes.py recorded; where it
is missing that data set is left out. ``kept`` is the share of values that come back bit for bit.
"""

import argparse
import json
import os
import sys
import tempfile
import time
import urllib.parse
from dataclasses import dataclass
from pathlib import Path

import datasets
import numpy as np
import peers
from datasets import DataSet

BUDGET_TSBS = 0.36
ASKED_SERIES = 5
HEADERS = {
    "Content-Encoding": "snappy",
    "Content-Type": "application/x-protobuf",
    "X-Prometheus-Remote-Write-Version": "0.1.0",
}


@dataclass(frozen=True, slots=True)
class Weight:
    bytes_settled: int
    log_bytes: int
    sample_count: int
    kept_share: float
    cpu_seconds: float


def folder_bytes(folder: Path) -> tuple[int, int]:
    """(all but the log, the log)."""
    settled = log = 0
    for path in folder.rglob("*"):
        if path.is_file() and path.relative_to(folder).parts[0] == "log":
            log += path.stat().st_size
        elif path.is_file():
            settled += path.stat().st_size
    return settled, log


def send_all(instance: peers.Running, data: DataSet) -> None:
    path = instance.product.remote_write
    assert path is not None
    for body in datasets.remote_write_bodies(data):
        status, answer = instance.request("POST", path, body, HEADERS)
        if status >= 300:
            sys.exit(f"{instance.product.name} refused with {status}: {answer[:200]!r}")


def kept_share(instance: peers.Running, data: DataSet) -> float:
    """Of the samples of a few series, how many come back as the double that was sent."""
    same = asked = 0
    times = np.broadcast_to(data.times_ms, data.values.shape)
    for at in np.linspace(0, len(data.labels) - 1, ASKED_SERIES).astype(int):
        labels = dict(data.labels[at])
        name = labels.pop("__name__")
        matchers = ",".join(f"{key}={json.dumps(value)}" for key, value in labels.items())
        there = ~np.isnan(data.values[at])
        sent = dict(zip((times[at][there] / 1000).tolist(), data.values[at][there], strict=True))
        span_seconds = (int(times[at].max()) - int(times[at].min())) // 1000 + 10
        query = f"{name}{{{matchers}}}[{span_seconds}s]"
        arguments = {"query": query, "time": times[at].max() / 1000, "nocache": 1}
        question = f"{instance.product.promql}/query?{urllib.parse.urlencode(arguments)}"
        status, body = instance.request("GET", question)
        assert status == 200, body[:300]
        result = json.loads(body)["data"]["result"]
        got = {float(t): float(v) for series in result for t, v in series["values"]}
        asked += len(sent)
        same += sum(got.get(t) == value for t, value in sent.items())
    return same / asked


def weigh(product: peers.Product, data: DataSet | None, folder: Path) -> Weight:
    data_dir = folder / f"{product.name}-{time.monotonic_ns()}".replace(" ", "-").lower()
    with peers.running(product, data_dir) as instance:
        kept = 1.0
        if data is not None:
            send_all(instance, data)
            instance.settle()
            kept = kept_share(instance, data)
        cpu_seconds = instance.cpu_seconds()
        settle_files(instance)
        count = data.sample_count if data is not None else 0
        return Weight(*folder_bytes(data_dir), count, kept, cpu_seconds)


def settle_files(instance: peers.Running) -> None:
    """Waits until files that are no longer needed are gone: both keep them for a while."""
    smallest, since = folder_bytes(instance.data_dir)[0], 0
    while since < 8:
        time.sleep(1)
        size = folder_bytes(instance.data_dir)[0]
        smallest, since = (size, 0) if size < smallest else (smallest, since + 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", help="products whose name holds this")
    parser.add_argument("--data", default="", help="data sets whose name holds this")
    parser.add_argument("--scale", type=float, default=1.0, help="more or fewer series")
    parser.add_argument("--node-exporter", type=Path, help="a recording of bench/scrapes.py")
    options = parser.parse_args()
    makers = dict(datasets.DATA_SETS)
    if options.node_exporter is not None:
        makers["node exporter"] = lambda _: datasets.node_exporter(options.node_exporter)
    # So that files which a merge has replaced are soon gone, and not counted.
    os.environ |= {"ORRERY_OBJECT_GRACE_SECONDS": "1", "ORRERY_COMPACTION_SECONDS": "1"}
    chosen = [p for p in peers.products() if p.name in ("Orrery", "VictoriaMetrics 1.145")]
    chosen = [p for p in chosen if options.only.lower() in p.name.lower()]
    print("| data | product | samples | bytes/sample | log, bytes | kept | CPU s |")
    print("|---|---|--:|--:|--:|--:|--:|")
    with tempfile.TemporaryDirectory(prefix="orrery-disk-", dir="/var/tmp") as folder:
        for product in chosen:
            empty = weigh(product, None, Path(folder))
            print(f"| nothing | {product.name} | 0 | {empty.bytes_settled} bytes in all | | | |")
        for name, make in makers.items():
            if options.data.lower() not in name.lower():
                continue
            data = make(options.scale)
            for product in chosen:
                weight = weigh(product, data, Path(folder))
                each = weight.bytes_settled / weight.sample_count
                print(
                    f"| {name} | {product.name} | {weight.sample_count:,} | {each:.4f} "
                    f"| {weight.log_bytes:,} | {weight.kept_share:.1%} "
                    f"| {weight.cpu_seconds:.0f} |",
                    flush=True,
                )
    print(f"\nTSBS cpu-only has {BUDGET_TSBS} bytes/sample to spend.")


if __name__ == "__main__":
    main()
