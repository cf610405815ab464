"""A whole data directory of format 1, as release 0.1 left it, opens and answers for ever.

tests/golden/data_directory_v1.tar was made by ``ORRERY_WRITE_GOLDEN=1 pytest`` on this file; a
release that changes the format adds a directory of its own beside it and never writes this anew.
It holds what no other golden file does, checkpoints and metadata, and how all of it fits together:
two epochs, a compacted and a flushed block, a delete that blocks still need, and behind the last
flush a log with samples, definitions, metadata and a delete.
"""

import os
import tarfile
from pathlib import Path

import numpy as np
import pytest

import orrery
from orrery.kernels.line_protocol import decode_line_protocol
from orrery.kernels.series import encode_series
from orrery.log.local import LogLimits
from orrery.store.bounds import HOUR_NS
from orrery.store.verify import Verification
from tests.store.cores import NativeCore, raw_samples
from tests.store.harness import NOW_NS, Running

GOLDEN = Path(__file__).parents[1] / "golden" / "data_directory_v1.tar"
TENANT = "default"
T = NOW_NS
METADATA = ("cpu", "gauge", "Is it busy?", "percent")
LATER = ("up", "gauge", "Is it up?", "")


def line(text):
    return decode_line_protocol(text.encode(), precision_ns=1, now_ns=0)


def made(path):
    """Two lives of a store, ended without a last flush."""
    options = {"log_limits": LogLimits(segment_bytes_max=100_000)}
    with Running(path, NativeCore(), **options) as db:

        def write(text):
            assert db.accept.write(TENANT, line(text)).result(30).rejected == ()

        write("\n".join(f"cpu,host=a value={n / 10} {T + n * 10**9}" for n in range(300)))
        write(f'log,host=a text="started",code=5i,big=7u,ok=true {T}')
        db.accept.write_metadata(TENANT, [METADATA]).result(30)
        db.store.flush()
        write(f"cpu,host=b value=1 {T}\ncpu,host=a value=-1 {T}")
        db.store.flush()
        db.store.compact()
        write(f"cpu,host=b value=2 {T + 1}\ngone value=1 {T}")
        db.accept.write("other", line(f"cpu value=9 {T - 5 * 24 * HOUR_NS}")).result(30)
        db.store.flush()
        db.delete("gone", T, T, tenant=TENANT)
    with Running(path, NativeCore(), **options) as db:
        write(f"up,host=a value=1 {T}\ncpu,host=b value=3 {T + 2}")
        db.store.flush()
        write(f"up,host=a value=0 {T + 1}\nup,host=c value=1 {T}\ngone value=2 {T + 1}")
        db.accept.write_metadata(TENANT, [LATER]).result(30)
        db.delete("up", T, T, tenant=TENANT)


def number(value):
    return ("float64", int(np.float64(value).view(np.uint64)))


def expected():
    def key(name, time, field="", **labels):
        return (encode_series(name, field, list(labels.items())), time)

    samples = {key("cpu", T + n * 10**9, host="a"): number(n / 10) for n in range(300)}
    return samples | {
        key("cpu", T, host="a"): number(-1.0),
        key("cpu", T, host="b"): number(1.0),
        key("cpu", T + 1, host="b"): number(2.0),
        key("cpu", T + 2, host="b"): number(3.0),
        key("log", T, "text", host="a"): ("string", b"started"),
        key("log", T, "code", host="a"): ("int64", 5),
        key("log", T, "big", host="a"): ("uint64", 7),
        key("log", T, "ok", host="a"): ("bool", 1),
        key("up", T + 1, host="a"): number(0.0),
        key("gone", T + 1): number(2.0),
    }


@pytest.fixture
def directory(tmp_path):
    if "ORRERY_WRITE_GOLDEN" in os.environ:
        made(tmp_path / "made")
        with tarfile.open(GOLDEN, "w") as tar:
            tar.add(tmp_path / "made", ".", filter=plain)
    with tarfile.open(GOLDEN) as tar:
        tar.extractall(tmp_path / "data", filter="data")
    return tmp_path / "data"


def plain(entry):
    """Without owner and date; locks are made anew."""
    if entry.name == "./lock":
        return None
    entry.uid = entry.gid = entry.mtime = 0
    entry.uname = entry.gname = ""
    return entry


def test_a_directory_of_format_1_opens_and_answers(directory):
    assert GOLDEN.stat().st_size < 100_000
    for _ in range(2):
        with Running(directory, NativeCore()) as db:
            assert raw_samples(db.store.snapshot(TENANT), TENANT) == expected()
            assert len(raw_samples(db.store.snapshot("other"), "other")) == 1
            assert db.store.metadata_of(TENANT) == [METADATA, LATER]
            db.store.flush()
            db.store.compact()
            assert raw_samples(db.store.snapshot(TENANT), TENANT) == expected()


def test_it_verifies_as_it_stands(directory):
    rows = list(Verification(directory, kernels=NativeCore().kernels).rows())
    assert len(rows) > 10
    assert [row for row in rows if not row["ok"]] == []


def test_python_opens_it(directory):
    with orrery.open(directory) as db:
        found = db.query("sum(cpu) + on() count(up)", at=T / 1e9 + 1).to_pandas()
        assert found["value"].tolist() == [pytest.approx(0.1 + 3 + 1)]
