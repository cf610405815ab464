"""The same tests over every form: the real engine in this process, one of plain dictionaries, and
that one behind real sockets."""

import subprocess
import sys
from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest

import orrery
from orrery.api import Database
from orrery.app import open_engine
from orrery.client.embedded import Embedded
from orrery.errors import Denied, Exhausted, Invalid, OrreryError, Unavailable
from tests.memory_engine import MemoryEngine, MemoryServer

SECOND = 1_000_000_000
START = datetime(2024, 1, 1, tzinfo=UTC)
START_NS = 1_704_067_200 * SECOND
TIMES_NS = START_NS + 10 * SECOND * np.arange(6)
HOSTS = np.array(["a", "b"] * 3)
LOADS = np.array([1.0, 10.0, 2.0, 20.0, 3.0, 30.0])
TABLE = {"time": TIMES_NS, "host": HOSTS, "value": LOADS}
END = START + timedelta(seconds=50)


@pytest.fixture
def engine():
    made = MemoryEngine()
    made.clock.time_ns = START_NS + 60 * SECOND
    return made


@pytest.fixture(params=["engine", "memory", "remote"])
def db(request, engine, tmp_path):
    if request.param == "engine":
        with Database(Embedded(open_engine(tmp_path, clock=engine.clock), tenant="t")) as database:
            yield database
        return
    if request.param == "memory":
        with Database(Embedded(engine, tenant="default")) as database:
            yield database
        return
    server = MemoryServer(engine)
    with orrery.connect(server.url) as database:
        yield database
    server.close()


def rows(result) -> list:
    return [(dict(labels), times.tolist(), values.tolist()) for labels, times, values in result]


def test_what_is_written_is_queried_now(db):
    written = db.write(TABLE, name="load")
    assert written.sample_count == 6
    assert written.acknowledgement in ("memory", "fsynced")
    result = db.query("load")
    assert result.kind == "vector"
    now_ns = START_NS + 60 * SECOND
    assert rows(result) == [
        ({"__name__": "load", "host": "a"}, [now_ns], [3.0]),
        ({"__name__": "load", "host": "b"}, [now_ns], [30.0]),
    ]


def test_a_query_at_a_time(db):
    db.write(TABLE, name="load")
    result = db.query("sum(load)", at=START + timedelta(seconds=20))
    assert rows(result) == [({}, [START_NS + 20 * SECOND], [12.0])]


def test_a_query_over_a_range(db):
    db.write(TABLE, name="load")
    result = db.query_range("load > 1", START, END, "25s")
    assert result.kind == "matrix"
    assert rows(result) == [
        (
            {"__name__": "load", "host": "a"},
            [START_NS + 25 * SECOND, START_NS + 50 * SECOND],
            [2.0, 3.0],
        ),
        (
            {"__name__": "load", "host": "b"},
            [START_NS + 25 * SECOND, START_NS + 50 * SECOND],
            [10.0, 30.0],
        ),
    ]


def test_scalars_and_strings(db):
    scalar = db.query("1 + 1", at=7)
    assert (scalar.kind, scalar.values.tolist(), scalar.times_ns.tolist()) == (
        "scalar",
        [2.0],
        [7 * SECOND],
    )
    string = db.query('"hello"', at=7)
    assert (string.kind, string.text, len(string)) == ("string", "hello", 0)


def test_raw_samples_are_read_with_both_ends(db):
    db.write(TABLE, name="load")
    result = db.read('load{host="a"}', START, START + timedelta(seconds=20))
    assert rows(result) == [
        ({"__name__": "load", "host": "a"}, [START_NS, START_NS + 20 * SECOND], [1.0, 2.0])
    ]


def test_raw_samples_of_nothing(db):
    assert rows(db.read("nothing", START, END)) == []


def test_every_kind_of_number_is_kept(db):
    db.write(
        {
            "time": TIMES_NS[:2],
            "whole": np.array([-5, 7]),
            "large": np.array([2**63, 1], np.uint64),
            "on": np.array([True, False]),
            "text": ["x", "y"],
        },
        name="kinds",
        fields=["whole", "large", "on", "text"],
    )
    for field, wanted in (
        ("whole", [-5.0, 7.0]),
        ("large", [float(2**63), 1.0]),
        ("on", [1.0, 0.0]),
    ):
        ((_, _, values),) = rows(db.read(f"kinds_{field}", START, END))
        assert values == wanted


def test_values_that_are_not_finite(db):
    table = {"time": TIMES_NS[:3], "value": np.array([np.nan, np.inf, 2.0])}
    assert db.write(table, name="odd").sample_count == 3
    ((_, _, values),) = rows(db.read("odd", START, END))
    assert np.array_equal(values, [np.nan, np.inf, 2.0], equal_nan=True)


def test_a_frame_goes_in_and_comes_out(db):
    frame = pd.DataFrame({**TABLE, "time": pd.to_datetime(TIMES_NS, utc=True)})
    db.write(frame, name="load")
    result = db.query_range("load", START, START, "1s").to_pandas()
    assert result.to_dict("records") == [
        {"__name__": "load", "host": "a", "time": pd.Timestamp(START), "value": 1.0}
    ]


def test_names_beyond_ascii_travel(db):
    db.write({"time": TIMES_NS[:1], "größe": ['naïve, "x" = 1'], "value": [1.0]}, name="wärme")
    assert db.series('{"wärme"}') == [{"__name__": "wärme", "größe": 'naïve, "x" = 1'}]
    assert db.label_values("größe") == ['naïve, "x" = 1']


def test_series_and_labels(db):
    db.write(TABLE, name="load")
    db.write({**TABLE, "host": ["c"] * 6}, name="heat")
    assert db.series("load") == [
        {"__name__": "load", "host": "a"},
        {"__name__": "load", "host": "b"},
    ]
    assert len(db.series(["load", "heat"])) == 3
    assert db.series("load", end=START - timedelta(days=1)) == []
    assert db.label_names() == ["__name__", "host"]
    assert db.label_values("__name__") == ["heat", "load"]
    assert db.label_values("host", "load") == ["a", "b"]
    assert db.label_values("host", start=END + timedelta(days=1)) == []


def test_deletes_hold_at_once(db):
    db.write(TABLE, name="load")
    db.delete('load{host="a"}', start=START, end=START + timedelta(seconds=20))
    assert rows(db.read('load{host="a"}', START, END))[0][2] == [3.0]
    db.delete("load")
    assert db.series("load") == []


def test_a_partial_write_names_what_is_refused_and_keeps_the_rest(db):
    table = {"time": np.array([START_NS + 3600 * SECOND, START_NS]), "value": [1.0, 2.0]}
    with pytest.raises(orrery.PartlyWritten) as caught:
        db.write(table, name="load")
    assert str(caught.value).startswith("cannot write 1 of 2 samples: ")
    assert len(caught.value.reasons) == 1
    assert (caught.value.written_count, caught.value.rejected_count) == (1, 1)
    assert rows(db.read("load", 0, END))[0][2] == [2.0]


def test_writing_nothing_is_fine(db):
    assert db.write({"time": [], "value": []}, name="load").sample_count == 0


@pytest.mark.parametrize(
    ("ask", "kind", "message"),
    [
        (lambda db: db.query("up{"), Invalid, "1:4: parse error"),
        (lambda db: db.query_range("up[5m]", 0, 1, 1), Invalid, "invalid expression type"),
        (lambda db: db.query_range("up", 5, 1, 1), Invalid, "the end 1 is before the start 5"),
        (lambda db: db.query_range("up", 0, 1, 0), Invalid, "it must be positive"),
        (lambda db: db.query_range("up", 0, 1e6, 1), Invalid, "more than 11000 steps"),
        (lambda db: db.read("rate(up[5m])", 0, 1), Invalid, "parse error"),
        (lambda db: db.read("up", 5, 1), Invalid, "the end 1 is before the start 5"),
        (lambda db: db.series("{}"), Invalid, "non-empty matcher"),
        (lambda db: db.write({"time": [1]}, name="x"), Invalid, "no column 'value'"),
    ],
)
def test_mistakes_are_told_alike(db, ask, kind, message):
    with pytest.raises(kind) as caught:
        ask(db)
    assert message in str(caught.value)


def test_a_closed_database_says_so(db):
    db.close()
    db.close()
    with pytest.raises(Invalid, match="cannot use database: it is closed"):
        db.query("up")


def test_flush_reaches_the_store(engine):
    with Database(Embedded(engine, tenant="default")) as database:
        database.flush()
    assert (engine.flushed_count, engine.is_closed) == (1, True)


def test_what_is_stored_outlives_the_process_and_one_process_owns_it(tmp_path):
    times_ns = np.array([START_NS, START_NS + SECOND])
    with orrery.open(tmp_path / "data") as database:
        database.write({"time": times_ns, "value": [1.0, 2.0]}, name="load")
        with pytest.raises(OrreryError, match="cannot open data directory"):
            orrery.open(tmp_path / "data")
        database.flush()
        database.write({"time": times_ns[1:] + SECOND, "value": [3.0]}, name="load")
    with orrery.open(tmp_path / "data") as database:
        assert rows(database.read("load", START, END))[0][2] == [1.0, 2.0, 3.0]
    with orrery.open(tmp_path / "data", tenant="other") as database:
        assert database.series("load") == []


def test_text_is_kept_and_told_of(tmp_path):
    with orrery.open(tmp_path) as database:
        database.write({"time": [START_NS], "value": ["on"]}, name="switch")
        result = database.read("switch", START, END)
    assert rows(result) == []
    assert result.warnings == ('series {__name__="switch"} holds text, which is left out',)


# --- the remote side alone


@pytest.fixture
def server(engine):
    made = MemoryServer(engine)
    yield made
    made.close()


def test_token_and_tenant_are_sent(server):
    with orrery.connect(server.url, token="secret", tenant="acme") as database:
        database.query("1")
    assert server.seen[0]["authorization"] == "Bearer secret"
    assert server.seen[0]["x-scope-orgid"] == "acme"


def test_compressed_answers_are_read(server):
    server.gzip = True
    with orrery.connect(server.url) as database:
        assert database.query("2").values.tolist() == [2.0]


def test_a_server_that_is_not_there_is_unavailable():
    with (
        orrery.connect("http://127.0.0.1:9") as database,
        pytest.raises(Unavailable, match=r"cannot reach '127.0.0.1'"),
    ):
        database.query("1")


def test_a_connection_closed_meanwhile_is_opened_again(engine):
    server = MemoryServer(engine)
    database = orrery.connect(server.url)
    database.query("1")
    http = database._side._http
    http._idle[0].sock.shutdown(2)
    assert database.query("2").values.tolist() == [2.0]
    database.close()
    server.close()


@pytest.mark.parametrize(
    "url", ["localhost:9090", "ftp://x", "http://", "http://u:p@h", "http://h?x=1"]
)
def test_addresses_that_cannot_be(url):
    with pytest.raises(Invalid, match="cannot connect to"):
        orrery.connect(url)


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (400, b'{"error": "bad"}', Invalid),
        (401, b'{"error": "who"}', Denied),
        (403, b'{"message": "no"}', Denied),
        (404, b"not here", Invalid),
        (422, b'{"error": "x", "limit": {"name": "n", "scope": "s", "value": 1, "current": 2}}',
         Exhausted),
        (429, b"{}", Exhausted),
        (500, b"", Unavailable),
        (503, b'{"error": "later"}', Unavailable),
        (503, b'{"error": "late", "errorType": "timeout"}', Exhausted),
        (400, b"[1]", Invalid),
    ],
)  # fmt: skip
def test_statuses_are_kinds_of_errors(status, body, kind):
    from orrery.client.http import Answer, error_of

    error = error_of(Answer(status, body))
    assert type(error) is kind
    assert str(error)


def test_import_is_lazy():
    script = "import sys, orrery; print(sorted({'numpy', 'ssl', 'pyarrow'} & set(sys.modules)))"
    shown = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True)
    assert shown.stdout == b"[]\n"
