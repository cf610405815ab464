"""The messages OTLP answers with, in protobuf and in JSON; ``write`` and ``export`` send them.

``ExportMetricsServiceResponse`` of the collector's metrics service, and ``google.rpc.Status``,
which gRPC carries too, there with ``google.rpc.RetryInfo`` where waiting helps.
"""

import msgspec

RETRY_INFO = "type.googleapis.com/google.rpc.RetryInfo"
NS = 1_000_000_000


def export_response(*, rejected_count: int, message: str, is_json: bool) -> bytes:
    """``message`` is empty where all was stored: then no partial success is told of."""
    if not message:
        return b"{}" if is_json else b""
    if is_json:
        # 64-bit numbers are text in protobuf's JSON form.
        partial = {"rejectedDataPoints": str(rejected_count), "errorMessage": message}
        return msgspec.json.encode({"partialSuccess": partial})
    return _nested(1, _number(1, rejected_count) + _nested(2, message.encode()))


def status(*, code: int, message: str, is_json: bool) -> bytes:
    if is_json:
        return msgspec.json.encode({"code": code, "message": message})
    return _number(1, code) + _nested(2, message.encode())


def status_with_retry(*, code: int, message: str, retry_after_seconds: float) -> bytes:
    seconds, nanoseconds = divmod(round(retry_after_seconds * NS), NS)
    duration = _number(1, seconds) + _number(2, nanoseconds)
    detail = _nested(1, RETRY_INFO.encode()) + _nested(2, _nested(1, duration))
    return status(code=code, message=message, is_json=False) + _nested(3, detail)


def _varint(number: int) -> bytes:
    out = bytearray()
    while number >= 0x80:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def _number(field: int, number: int) -> bytes:
    """Nothing for zero, as protobuf has it."""
    return _varint(field << 3) + _varint(number) if number else b""


def _nested(field: int, content: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(content)) + content
