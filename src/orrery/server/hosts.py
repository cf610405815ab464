"""Refuses requests that a web page could forge in its reader's browser.

A page on ``evil.example`` whose name is made to resolve to 127.0.0.1 reaches a loopback server
from the victim's browser: :class:`HostPolicy`, while ``auth`` is none. With tokens, a browser that
was given one as a password adds it to the forms of any page: :class:`OriginPolicy`. The browser
still says whose page it is: in Host, Origin and Sec-Fetch-Site.
"""

import ipaddress
from collections.abc import Iterable, Mapping
from typing import Protocol
from urllib.parse import urlsplit

WELCOMED_MAX = 256
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
"""What a link may do; nothing is changed by them."""


class Policy(Protocol):
    def refusal(self, method: str, headers: Mapping[str, str]) -> str | None:
        """Why the request is refused; None where it is welcome."""


class OriginPolicy:
    """What carries basic credentials and may change something comes from the server's own pages,
    from those of ``allowed``, or from no browser."""

    def __init__(self, allowed: Iterable[str] = ()) -> None:
        self._allowed = frozenset(name.lower().rstrip(".") for name in allowed)

    def refusal(self, method: str, headers: Mapping[str, str]) -> str | None:
        """Why the request is refused; None where it is welcome."""
        kind = headers.get("authorization", "")[:5].lower()
        if kind != "basic" or method in SAFE_METHODS:
            return None
        origin = headers.get("origin")
        if origin is None:
            return _fetched_elsewhere(headers, ("cross-site", "same-site"))
        is_own = origin.partition("://")[2].lower() == headers.get("host", "").lower()
        if is_own or _origin_name(origin) in self._allowed:
            return None
        return f"cannot serve origin {origin!r}: neither this server nor in http_allow_host"


class HostPolicy:
    """Host and Origin must name loopback, or one of ``allowed``."""

    def __init__(self, allowed: Iterable[str] = ()) -> None:
        self._welcomed: set[str] = set()
        self._allowed = frozenset(name.lower().rstrip(".") for name in allowed)

    def refusal(self, method: str, headers: Mapping[str, str]) -> str | None:
        """Why the request is refused; None where it is welcome."""
        host = headers.get("host")
        # HTTP/1.0 clients may leave Host out; browsers never do.
        if host is not None and not self._welcome_host(host):
            return f"cannot serve host {host!r}: neither loopback nor in http_allow_host"
        origin = headers.get("origin")
        if origin is not None and not self._welcome(_origin_name(origin)):
            return f"cannot serve origin {origin!r}: neither loopback nor in http_allow_host"
        if origin is None and method not in SAFE_METHODS:
            return _fetched_elsewhere(headers, ("cross-site",))
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


def _fetched_elsewhere(headers: Mapping[str, str], refused: tuple[str, ...]) -> str | None:
    site = headers.get("sec-fetch-site")
    return f"cannot serve a page of another site ({site})" if site in refused else None


def _origin_name(origin: str) -> str | None:
    scheme, separator, authority = origin.partition("://")
    if not separator or scheme not in ("http", "https"):
        return None
    return host_name(authority)
