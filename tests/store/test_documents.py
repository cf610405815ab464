"""Control documents: any damage is named, and never read as something else."""

import pytest

from orrery.errors import Corrupt, Invalid, OrreryError
from orrery.store.documents import decode_document, encode_document
from orrery.store.manifest import Manifest

KEPT = Manifest(epoch=3, next_offset=17, checkpoints=("partitions/0/checkpoints/a\u00e9.series",))


def decoded(content):
    return decode_document(content, Manifest, name="a document", format_version=1)


def test_a_document_comes_back():
    assert decoded(encode_document(KEPT, format_version=1)) == KEPT


def test_every_flipped_bit_is_named():
    content = encode_document(KEPT, format_version=1)
    for at in range(len(content) - 1):
        for bit in range(8):
            damaged = bytearray(content)
            damaged[at] ^= 1 << bit
            try:
                found = decoded(bytes(damaged))
            except (Corrupt, Invalid) as error:
                named = str(error)
            else:
                # Only the spelling of the checksum and of the envelope has slack.
                assert found == KEPT
                named = "a document"
            assert "a document" in named


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"[" * 100_000, b"{}", b"null"])
def test_what_is_no_document_is_refused(content):
    with pytest.raises(OrreryError, match="cannot read 'a document'"):
        decoded(content)
