"""The cores that engine tests run over."""

from tests.store.harness import FakeCore

CORES = {"fake": FakeCore}
