import pytest

from tests.protocols.prometheus.harness import Harness

SERIES = {
    ("up", "", (("job", "node"),)): {990: 1.0, 1000: 1.0},
    ("up", "", (("job", "web"),)): {990: 0.0, 1000: 1.0},
    ("http_total", "", (("code", "200"), ("job", "web"))): {940: 0.0, 970: 30.0, 1000: 90.0},
    ("cpu", "user", (("host.name", "a"),)): {1000: 0.5},
    ("old", "", (("job", "gone"),)): {10: 1.0},
}


@pytest.fixture
def served():
    harness = Harness(SERIES)
    yield harness
    harness.close()
