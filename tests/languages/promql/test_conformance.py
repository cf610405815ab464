"""Prometheus' own language tests, where they are present: a ratchet that only rises."""

import pytest

from tests.compat import conformance

PASSED_MIN = 1322
CLASSIC_FAILED_MAX = 1  # functions that would need native histograms

pytestmark = pytest.mark.skipif(
    not conformance.scripts(), reason=f"no scripts in {conformance.shared()}/conformance/promql"
)


def test_the_scripts_pass():
    target = conformance.Target()
    results = [
        result
        for path in conformance.scripts()
        for result in conformance.run_file(path, target, conformance.options())
    ]
    passed = [result for result in results if result["verdict"] == "pass"]
    classic = [result for result in results if conformance.is_classic(result)]
    failed = [result["expr"] for result in classic if result["verdict"] != "pass"]
    assert len(failed) <= CLASSIC_FAILED_MAX, failed
    assert len(passed) >= PASSED_MIN
