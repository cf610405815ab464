"""The arguments of a request: every one is known by its name, or the request is refused.

Called by the handlers of this folder. Warp 10 ignores what it does not know, and then answers
another question than was asked.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from orrery.errors import Invalid
from orrery.server.http import Request

NOT_SUPPORTED = frozenset(
    {
        "activeafter",
        "chunksize",
        "maxsize",
        "minage",
        "metaonly",
        "postboundary",
        "preboundary",
        "quietafter",
        "sample",
        "showuuid",
        "step",
        "suffix",
        "timestep",
        "unpack",
    }
)
"""What the original has, and nobody here answers."""


@dataclass(frozen=True, slots=True)
class Arguments:
    texts: Mapping[str, str]

    def __contains__(self, name: str) -> bool:
        return name in self.texts

    def get(self, name: str) -> str | None:
        return self.texts.get(name)

    def needed(self, name: str) -> str:
        text = self.texts.get(name)
        if not text:
            raise Invalid(f"Missing '{name}' parameter.")
        return text

    def is_true(self, name: str) -> bool:
        return self.texts.get(name) == "true"

    def count(self, name: str, default: int) -> int:
        text = self.texts.get(name)
        if text is None:
            return default
        if not text.isascii() or not text.isdigit() or len(text) > 18:
            raise Invalid(f"Invalid value {text!r} of parameter '{name}': it is not a count")
        return int(text)


def read_arguments(request: Request, known: frozenset[str]) -> Arguments:
    """Of the query and of a form; the first of a name holds."""
    texts: dict[str, str] = {}
    for name, text in request.arguments():
        if name in NOT_SUPPORTED:
            raise Invalid(f"Parameter '{name}' is not supported.")
        if name not in known:
            raise Invalid(f"Parameter {name!r} is not known.")
        texts.setdefault(name, text)
    return Arguments(texts)
