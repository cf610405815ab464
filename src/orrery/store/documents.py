"""JSON documents in objects, each with a format number and a checksum.

``{"format":1,"crc32c":"0a1b2c3d","document":{...}}``; the checksum covers the bytes of
``document`` as they stand. Called by ``store.manifest`` and ``store.metadata``.
"""

from typing import TypeVar

import msgspec

from orrery.errors import Corrupt, Invalid
from orrery.kernels.checksum import crc32c

Document = TypeVar("Document")

FORMAT_MAX = 2
"""The highest format number that any kind of document has reached."""

UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What decoding any bytes as JSON may raise."""


class _Envelope(msgspec.Struct):
    format: int
    crc32c: str
    document: msgspec.Raw


def encode_document(document: object, *, format_version: int) -> bytes:
    body = msgspec.json.encode(document)
    envelope = _Envelope(format_version, f"{crc32c(body):08x}", msgspec.Raw(body))
    return msgspec.json.encode(envelope) + b"\n"


def decode_document(
    content: bytes, kind: type[Document], *, name: str, format_version: int
) -> Document:
    """``name`` is the object's, for the error."""
    envelope = _opened(content, name)
    if envelope.format != format_version:
        raise Invalid(
            f"cannot read {name!r}: its format is {envelope.format}, this release reads "
            f"{format_version}: run `pip install --upgrade orrery-db`"
        )
    _check(envelope, name)
    try:
        return msgspec.json.decode(envelope.document, type=kind)
    except UNREADABLE as error:
        raise Corrupt(f"cannot read {name!r}: {error}") from error


def format_of(content: bytes, *, name: str) -> int:
    """For a kind of document that is written in more than one format."""
    return _opened(content, name).format


def check_document(content: bytes, *, name: str) -> None:
    """The envelope and its checksum, of whatever kind the document is."""
    envelope = _opened(content, name)
    if not 1 <= envelope.format <= FORMAT_MAX:
        # The checksum does not cover it.
        raise Corrupt(f"cannot read {name!r}: no document has the format {envelope.format}")
    _check(envelope, name)


def _opened(content: bytes, name: str) -> _Envelope:
    try:
        return msgspec.json.decode(content, type=_Envelope)
    except UNREADABLE as error:
        raise Corrupt(f"cannot read {name!r}: {error}") from error


def _check(envelope: _Envelope, name: str) -> None:
    if f"{crc32c(bytes(envelope.document)):08x}" != envelope.crc32c:
        raise Corrupt(f"cannot read {name!r}: its checksum is wrong")
