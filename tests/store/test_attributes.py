"""What writers say of series: kept, replaced, forgotten, bounded, and there after a restart."""

from pathlib import Path

import pytest

from orrery.errors import Exhausted
from orrery.kernels.record import decode_attributes, describe_record, encode_attributes, record_kind
from orrery.kernels.series import encode_series
from orrery.store.attributes import Attributes
from orrery.store.documents import check_document
from orrery.store.metadata import Metadata

from .cores import NativeCore
from .harness import TENANT, Running

GOLDEN = Path(__file__).parents[1] / "golden" / "formats"
A, B, C = (encode_series(name, "", [("host", "x")]) for name in "abc")
ONE, TWO = (("k", "1"),), (("k", "2"), ("l", ""))


def test_only_news_are_told():
    attributes = Attributes()
    attributes.put(TENANT, [(A, ONE)])
    told = attributes.news(TENANT, [(A, ONE), (B, TWO), (C, ())])
    assert told == ((B, TWO),)
    assert attributes.news(TENANT, [(A, TWO), (A, ONE)]) == ()
    assert attributes.news(TENANT, [(A, ())]) == ((A, ()),)
    assert attributes.news("other", [(A, ONE)]) == ((A, ONE),)


def test_no_pairs_forget_a_series():
    attributes = Attributes()
    attributes.put(TENANT, [(A, ONE), (B, TWO)])
    attributes.put(TENANT, [(A, ()), (C, ())])
    assert attributes.of(TENANT) == {B: TWO}
    attributes.put(TENANT, [(B, ())])
    assert attributes.rows() == {}


def test_there_is_room_for_so_many():
    attributes = Attributes(series_max=2)
    attributes.put(TENANT, [(A, ONE), (B, ONE)])
    with pytest.raises(Exhausted, match="attributes_series_max 2"):
        attributes.news(TENANT, [(C, ONE)])
    assert attributes.news(TENANT, [(C, ONE), (A, ())])
    assert attributes.news("other", [(C, ONE)])


def test_there_is_room_for_so_much():
    attributes = Attributes(bytes_max=len(A) + 10)
    with pytest.raises(Exhausted, match="attributes_bytes_max"):
        attributes.news(TENANT, [(A, (("k", "v" * 10),))])
    attributes.put(TENANT, [(A, (("k", "v" * 9),))])
    assert attributes.news(TENANT, [(A, (("k", "w" * 9),))])
    attributes.put(TENANT, [(A, ()), (B, (("k", "v" * 9),))])
    with pytest.raises(Exhausted):
        attributes.news(TENANT, [(A, ONE)])


def test_they_survive(tmp_path):
    with Running(tmp_path, NativeCore()) as db:
        assert db.accept.write_attributes(TENANT, [(A, ONE), (B, ONE)]).result(30) == 0
        assert db.accept.write_attributes(TENANT, [(A, ONE)]).result(30) is None
    with Running(tmp_path, NativeCore()) as db:
        assert db.store.attributes_of(TENANT) == {A: ONE, B: ONE}
        db.store.flush()
        assert db.accept.write_attributes(TENANT, [(A, TWO), (B, ())]).result(30) == 1
    for _ in range(2):
        with Running(tmp_path, NativeCore()) as db:
            assert db.store.attributes_of(TENANT) == {A: TWO}
            assert db.store.attributes_of("other") == {}
            db.store.flush()


def test_a_document_without_them_is_of_format_1():
    metadata = Metadata(per_tenant_max=9)
    metadata.put(TENANT, [("up", "gauge", "", "")])
    assert metadata.encode().startswith(b'{"format":1,')
    metadata.attributes.put(TENANT, [(A, ONE)])
    assert metadata.encode().startswith(b'{"format":2,')


def test_the_golden_document_still_reads():
    content = (GOLDEN / "metadata_v2.json").read_bytes()
    check_document(content, name="golden")
    metadata = Metadata(per_tenant_max=9)
    metadata.load(content, name="golden")
    assert metadata.of("acme") == [("up", "gauge", "Is it up?", "")]
    series = encode_series("cpu", "user", [("host", "a")])
    assert metadata.attributes.of("acme") == {series: (("unit", "°C"), ("empty", ""))}
    assert metadata.encode() == content


def test_the_golden_record_still_reads():
    content = (GOLDEN / "record_attributes_v1.bin").read_bytes()
    assert record_kind(content) == "attributes"
    assert describe_record(content)["row_count"] == 2
    tenant, rows = decode_attributes(content)
    assert (tenant, rows[0][1]) == ("acme", [("unit", "°C"), ("empty", "")])
    assert encode_attributes(tenant, 7, rows) == content
