"""Refuses requests that a web page could forge by DNS rebinding; used while ``auth`` is none.

A page on ``evil.example`` whose name is made to resolve to 127.0.0.1 reaches a loopback server
from the victim's browser. The browser still says whose page it is: in Host and in Origin.
"""

import ipaddress
from collections.abc import Iterable, Mapping
from urllib.parse import urlsplit

WELCOMED_MAX = 256


class HostPolicy:
    """Host and Origin must name loopback, or one of ``allowed``."""

    def __init__(self, allowed: Iterable[str] = ()) -> None:
        self._welcomed: set[str] = set()
        self._allowed = frozenset(name.lower().rstrip(".") for name in allowed)

    def refusal(self, headers: Mapping[str, str]) -> str | None:
        """Why the request is refused; None where it is welcome."""
        host = headers.get("host")
        # HTTP/1.0 clients may leave Host out; browsers never do.
        if host is not None and not self._welcome_host(host):
            return f"cannot serve host {host!r}: neither loopback nor in http_allow_host"
        origin = headers.get("origin")
        if origin is not None and not self._welcome(_origin_name(origin)):
            return f"cannot serve origin {origin!r}: neither loopback nor in http_allow_host"
        return None

    def _welcome_host(self, host: str) -> bool:
        # The same few names come with every request; parsing one costs 6 us.
        if host in self._welcomed:
            return True
        is_welcome = self._welcome(host_name(host))
        if is_welcome and len(self._welcomed) < WELCOMED_MAX:
            self._welcomed.add(host)
        return is_welcome

    def _welcome(self, name: str | None) -> bool:
        return name is not None and (is_loopback(name) or name in self._allowed)


def is_loopback(name: str) -> bool:
    """Whether a host name or address can only be this machine."""
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def host_name(authority: str) -> str | None:
    """``Example.org:80`` -> ``example.org``; ``[::1]:80`` -> ``::1``; None where malformed."""
    try:
        name = urlsplit("//" + authority).hostname
    except ValueError:
        return None
    if name is None or "@" in authority or "/" in authority:
        return None
    return name.rstrip(".")


def _origin_name(origin: str) -> str | None:
    scheme, separator, authority = origin.partition("://")
    if not separator or scheme not in ("http", "https"):
        return None
    return host_name(authority)
