"""Record what a real node exporter says, for bench/disk.py.

    .venv/bin/python bench/scrapes.py FILE [--count 1440] [--pace-seconds 1]

Scrapes the exporter of build/peers (`make peers`) on this machine at a fast pace. Times are kept
as if the pace had been 15 s, each with the few milliseconds by which the scrape was late.
"""

import argparse
import json
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import peers
from numpy.typing import NDArray

BINARY = peers.PEERS / "bookworm" / "usr" / "bin" / "prometheus-node-exporter"
SCRAPE_MS = 15_000
TIMEOUT_SECONDS = 30


@dataclass(frozen=True, slots=True)
class Recording:
    names: list[str]
    """As in the text: ``name{label="value"}``."""
    late_ms: NDArray[np.int64]
    values: NDArray[np.float64]
    """(series, scrapes); NaN where a scrape did not have the series."""


def scrape(url: str) -> dict[str, float]:
    with urllib.request.urlopen(url, timeout=TIMEOUT_SECONDS) as answer:
        text = answer.read().decode()
    lines = (line for line in text.splitlines() if line and not line.startswith("#"))
    return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines)}


def paced(count: int, pace_seconds: float) -> Iterator[int]:
    """Waits for each turn; gives by how many milliseconds it came late."""
    began = time.monotonic()
    for turn in range(count):
        due = began + turn * pace_seconds
        time.sleep(max(0.0, due - time.monotonic()))
        yield int((time.monotonic() - due) * 1000)


def record(count: int, pace_seconds: float) -> Recording:
    port = peers.free_port()
    exporter = subprocess.Popen(
        [str(BINARY), f"--web.listen-address=127.0.0.1:{port}"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        time.sleep(1)
        late, scrapes = [], []
        for late_ms in paced(count, pace_seconds):
            late.append(min(late_ms, SCRAPE_MS // 2))
            scrapes.append(scrape(f"http://127.0.0.1:{port}/metrics"))
    finally:
        exporter.terminate()
        exporter.wait()
    names = list(dict.fromkeys(name for one in scrapes for name in one))
    values = np.array([[one.get(name, np.nan) for one in scrapes] for name in names])
    return Recording(names, np.array(late), values)


def save(recording: Recording, path: Path) -> None:
    names = np.frombuffer(json.dumps(recording.names).encode(), np.uint8)
    with path.open("wb") as file:
        np.savez_compressed(file, names=names, late=recording.late_ms, values=recording.values)


def load(path: Path) -> Recording:
    with np.load(path) as columns:
        names = json.loads(columns["names"].tobytes())
        return Recording(names, columns["late"], columns["values"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", type=Path)
    parser.add_argument("--count", type=int, default=1440)
    parser.add_argument("--pace-seconds", type=float, default=1.0)
    options = parser.parse_args()
    recording = record(options.count, options.pace_seconds)
    save(recording, options.file)
    print(f"{len(recording.names)} series, {options.count} scrapes")


if __name__ == "__main__":
    main()
