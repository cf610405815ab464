"""Payloads of native histograms taken apart, and histograms as JSON; called by ``languages.promql``
and ``protocols.prometheus``."""

from orrery._core import decode_histogram, histogram_json

__all__ = ["decode_histogram", "histogram_json"]
