"""Libraries that only some callers have: imported when first needed, named when missing."""

import importlib
from typing import Any

from orrery.errors import Invalid


def optional(library: str, *, extra: str) -> Any:
    try:
        return importlib.import_module(library)
    except ImportError as error:
        raise Invalid(
            f"cannot import {library!r}: install it with `pip install 'orrery-db[{extra}]'`"
        ) from error
