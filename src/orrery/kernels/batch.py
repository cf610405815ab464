"""What every wire decodes a request into; ``ingest`` hands it on to the store."""

from orrery._core import Batch

__all__ = ["Batch"]
