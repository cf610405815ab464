"""What every test may ask for."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of shared data beside the repository, or a skip that says so."""
    default = Path(__file__).parents[2] / "shared"
    folder = Path(os.environ.get("ORRERY_SHARED", default))
    if not folder.is_dir():
        pytest.skip(f"no shared data at {folder} (set ORRERY_SHARED)")
    return folder
