"""Libraries that only some callers have: imported when first needed, named when missing."""

import importlib
from typing import Any

from orrery.errors import Invalid

Foreign = Any
"""A module or object of a library that may not be there, so that no type can be named for it."""


def optional(library: str, *, extra: str) -> Foreign:
    try:
        return importlib.import_module(library)
    except ImportError as error:
        raise Invalid(
            f"cannot import {library!r}: install it with `pip install 'orrery-db[{extra}]'`"
        ) from error
