"""Prometheus' own language tests over HTTP, where they are present: a ratchet that only rises."""

import pytest

from . import conformance
from .conftest import Programs

PASSED_MIN = 1892

pytestmark = pytest.mark.skipif(
    not conformance.scripts(), reason=f"no scripts in {conformance.shared()}/conformance/promql"
)


# The reader of the scripts leaves its connections to the collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.timeout(120)
def test_the_scripts_pass_over_http(programs: Programs) -> None:
    results = conformance.run_over_http(programs.orrery().url)
    ran = [result for result in results if result["verdict"] != "skip"]
    passed = [result for result in ran if result["verdict"] == "pass"]
    classic = [result for result in ran if conformance.is_classic(result)]
    failed = [result["expr"] for result in classic if result["verdict"] != "pass"]
    assert failed == []
    assert len(passed) >= PASSED_MIN
