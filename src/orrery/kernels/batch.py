"""What every wire decodes a request into; handed from ``protocols`` through ``ingest`` to the store."""

from orrery._core import Batch

__all__ = ["Batch"]
