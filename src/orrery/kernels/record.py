"""Records of the log (docs/formats/record.md); used by ``ingest`` and ``store``."""

from orrery._core import (
    decode_attributes,
    decode_delete,
    decode_metadata,
    describe_record,
    encode_attributes,
    encode_delete,
    encode_metadata,
    record_kind,
)

__all__ = [
    "decode_attributes",
    "decode_delete",
    "decode_metadata",
    "describe_record",
    "encode_attributes",
    "encode_delete",
    "encode_metadata",
    "record_kind",
]
