"""How the bytes of a stream fall into frames; wires name one, ``streams`` asks it."""

from dataclasses import dataclass
from typing import Protocol

LENGTH_BYTES = 4


class TooLong(Exception):
    """A frame that is longer than its wire allows."""


class Framing(Protocol):
    def whole(self, held: bytearray) -> int:
        """How many of the first bytes are whole frames; ``TooLong`` where the frame behind them
        is, or will be, longer than it may. Called again whenever more was read."""


@dataclass(frozen=True, slots=True)
class Lines:
    """Each ends with a newline."""

    bytes_max: int

    def whole(self, held: bytearray) -> int:
        count = held.rfind(b"\n") + 1
        if not count and len(held) > self.bytes_max:
            raise TooLong(f"cannot read a line: longer than {self.bytes_max} bytes")
        return count


@dataclass(frozen=True, slots=True)
class Prefixed:
    """Before each stands its length: four bytes, the highest first."""

    bytes_max: int

    def whole(self, held: bytearray) -> int:
        end = 0
        while len(held) - end >= LENGTH_BYTES:
            length = int.from_bytes(held[end : end + LENGTH_BYTES], "big")
            if length > self.bytes_max:
                if end:
                    return end
                raise TooLong(f"cannot read a frame of {length} bytes: at most {self.bytes_max}")
            if end + LENGTH_BYTES + length > len(held):
                break
            end += LENGTH_BYTES + length
        return end
