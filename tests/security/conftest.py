"""Two servers for all attacks: one open, one with tokens."""

import pytest

from tests.security.serving import QUIET, Server


@pytest.fixture(scope="session")
def open_server(tmp_path_factory):
    with Server(tmp_path_factory.mktemp("open") / "data", *QUIET) as server:
        yield server


@pytest.fixture(scope="session")
def token_server(tmp_path_factory):
    directory = tmp_path_factory.mktemp("token") / "data"
    with Server(
        directory, "--auth", "token", "--log-level", "debug", "--http-log-requests", *QUIET
    ) as server:
        yield server
