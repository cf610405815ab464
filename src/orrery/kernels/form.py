"""Arguments of URLs and forms; ``server`` reads every request's by it."""

from orrery._core import parse_form

__all__ = ["parse_form"]
