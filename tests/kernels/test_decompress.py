"""Other programs' compressors are undone, within the bound."""

import gzip
import zlib

import cramjam
import pytest

from orrery.errors import Exhausted, Invalid
from orrery.kernels.decompress import ENCODINGS, decompress

PLAIN = b"cpu,host=a usage=1 1\n" * 1000
COMPRESSED = {
    "identity": PLAIN,
    "gzip": gzip.compress(PLAIN),
    "deflate": zlib.compress(PLAIN),
    "snappy": bytes(cramjam.snappy.compress_raw(PLAIN)),
    "zstd": bytes(cramjam.zstd.compress(PLAIN)),
}


def test_every_encoding_is_covered():
    assert set(COMPRESSED) == ENCODINGS


@pytest.mark.parametrize("encoding", COMPRESSED)
def test_bodies_come_back(encoding):
    assert decompress(encoding, COMPRESSED[encoding], size_bytes_max=len(PLAIN)) == PLAIN


@pytest.mark.parametrize("encoding", COMPRESSED)
def test_a_body_that_is_too_large_names_the_limit(encoding):
    with pytest.raises(Exhausted, match=f"size_bytes_max {len(PLAIN) - 1}"):
        decompress(encoding, COMPRESSED[encoding], size_bytes_max=len(PLAIN) - 1)


@pytest.mark.parametrize("encoding", sorted(ENCODINGS - {"identity"}))
def test_broken_bytes_are_invalid(encoding):
    with pytest.raises(Invalid, match=f"cannot decompress {encoding} body of 6 bytes"):
        decompress(encoding, b"\x07nobdy", size_bytes_max=100)


def test_an_unknown_encoding_is_invalid():
    with pytest.raises(Invalid, match='"br"'):
        decompress("br", b"", size_bytes_max=1)
