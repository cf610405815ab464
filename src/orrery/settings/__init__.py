"""Configuration: what can be set, where it is read from. ``app`` hands each part what it needs."""

from orrery.settings.declared import Acknowledgement, Limits, Settings
from orrery.settings.document import markdown, shown
from orrery.settings.load import (
    Setting,
    check_limit_names,
    described,
    limits_with,
    load,
    of_environment,
)

__all__ = [
    "Acknowledgement",
    "Limits",
    "Setting",
    "Settings",
    "check_limit_names",
    "described",
    "limits_with",
    "load",
    "markdown",
    "of_environment",
    "shown",
]
