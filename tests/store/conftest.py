"""Every engine test runs over the plain-Python core and the compiled one."""

import pytest

from tests.store.cores import CORES


@pytest.fixture(params=CORES)
def core(request):
    return CORES[request.param]()
