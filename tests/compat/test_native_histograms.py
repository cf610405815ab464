"""A real Prometheus scrapes native histograms, its own, and remote-writes them to Orrery; both then
answer the same questions."""

import math
import time
from typing import Any

import pytest

from .conftest import Programs, Server, free_port

pytestmark = pytest.mark.compat

COLLECT_SECONDS = 25.0
CONFIGURATION = """
global: {{scrape_interval: 1s}}
scrape_configs:
  - job_name: prometheus
    static_configs: [{{targets: ["127.0.0.1:{own}"]}}]
remote_write:
  - url: {url}/api/v1/write
    send_native_histograms: true
    {extra}
    queue_config: {{batch_send_deadline: 500ms}}
"""
NAME = "prometheus_http_request_duration_seconds"
QUESTIONS = (
    NAME,
    f"{NAME}[10s]",
    f"sum({NAME})",
    f"avg by (handler) ({NAME})",
    f"count({NAME})",
    f"rate({NAME}[10s])",
    f"increase({NAME}[10s])",
    f"sum(rate({NAME}[10s]))",
    f"histogram_quantile(0.9, sum(rate({NAME}[10s])))",
    f"histogram_fraction(0, 0.1, sum({NAME}))",
    f"histogram_count({NAME})",
    f"histogram_avg(sum({NAME}))",
    f"histogram_stddev(sum({NAME}))",
    f"sum_over_time({NAME}[10s])",
    f"last_over_time({NAME}[10s])",
    f"resets({NAME}[10s])",
    f"changes({NAME}[10s])",
    f"{NAME} * 2",
    f"{NAME} + {NAME}",
    f"{NAME} == {NAME}",
    f"-{NAME}",
    f"max({NAME})",
)


def close(left: Any, right: Any) -> bool:
    """Equal but for the last digits of numbers, which texts hold."""
    if isinstance(left, dict):
        return left.keys() == right.keys() and all(close(left[key], right[key]) for key in left)
    if isinstance(left, list | tuple):
        return len(left) == len(right) and all(map(close, left, right))
    if isinstance(left, str) and left != right:
        try:
            return math.isclose(float(left), float(right), rel_tol=1e-9)
        except ValueError:
            return False
    return bool(left == right)


def answer(server: Server, path: str, **arguments: str | float) -> Any:
    body = server.api(path, **arguments)
    rows = sorted(body["data"]["result"], key=lambda row: sorted(row["metric"].items()))
    return rows, sorted(body.get("warnings", [])), sorted(body.get("infos", []))


@pytest.mark.timeout(180)
@pytest.mark.parametrize("extra", ["", "protobuf_message: io.prometheus.write.v2.Request"])
def test_the_same_questions_have_the_same_answers(programs: Programs, extra: str) -> None:
    orrery = programs.orrery()
    port = free_port()
    text = CONFIGURATION.format(own=port, url=orrery.url, extra=extra)
    options = ("--enable-feature=native-histograms,metadata-wal-records",)
    prometheus = programs.prometheus("sid", text, *options, port=port)
    deadline = time.monotonic() + COLLECT_SECONDS
    while time.monotonic() < deadline:
        time.sleep(1)
        prometheus.api("labels")
    # What Prometheus has answered for this instant it has also sent on a few seconds later.
    at = math.floor(time.time()) - 6.0
    assert answer(prometheus, "query", query=f"count({NAME})", time=at)[0]
    different = []
    for query in QUESTIONS:
        for path, times in (
            ("query", {"time": at}),
            ("query_range", {"start": at - 9, "end": at, "step": 3}),
        ):
            if path == "query_range" and query.endswith("]"):
                continue
            theirs = answer(prometheus, path, query=query, **times)
            ours = answer(orrery, path, query=query, **times)
            if not close(theirs, ours):
                different.append(f"{path} {query}: {theirs} / {ours}"[:1500])
    assert different == []
