"""One engine for the tests of a file, a tenant for each of them."""

import dataclasses
import itertools

import pytest

from tests.protocols.warp10.harness import opened

NUMBERS = itertools.count()


@pytest.fixture(scope="module")
def opened_client(tmp_path_factory):
    with opened(tmp_path_factory.mktemp("warp10")) as client:
        yield client


@pytest.fixture
def client(opened_client):
    return dataclasses.replace(opened_client, tenant=f"t{next(NUMBERS)}")
