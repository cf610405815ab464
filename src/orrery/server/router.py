"""Finds the route that serves a path; the application calls it once a request."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from urllib.parse import unquote

from orrery.errors import Invalid
from orrery.server.http import Route

Segments = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Found:
    route: Route
    parameters: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Missing:
    """No route serves the request; ``allowed`` are the methods that this path does serve."""

    allowed: tuple[str, ...]


class Router:
    """Routes in the order given: the first whose path and method fit serves the request.

    A GET route serves HEAD too.
    """

    def __init__(self, routes: Iterable[Route]) -> None:
        self._exact: dict[str, list[tuple[int, Route]]] = defaultdict(list)
        self._templates: dict[int, list[tuple[int, Segments, Route]]] = defaultdict(list)
        for order, route in enumerate(routes):
            segments = _template(route.path)
            if any(_is_parameter(segment) for segment in segments):
                self._templates[len(segments)].append((order, segments, route))
            else:
                self._exact[route.path].append((order, route))
        self._plain = {
            (method, path): found
            for path, routes_there in self._exact.items()
            for method in {"HEAD"}.union(*(route.methods for _, route in routes_there))
            if isinstance(found := self._searched(method, path), Found)
        }

    def find(self, method: str, raw_path: str) -> Found | Missing:
        """``raw_path`` is as sent, so that an encoded slash stays inside its segment.

        ``Invalid`` where its percent-encoding is not UTF-8.
        """
        return self._plain.get((method, raw_path)) or self._searched(method, raw_path)

    def _searched(self, method: str, raw_path: str) -> Found | Missing:
        fitting = self._fitting(raw_path)
        for route, parameters in fitting:
            if method in route.methods or (method == "HEAD" and "GET" in route.methods):
                return Found(route, parameters)
        allowed = {name for route, _ in fitting for name in route.methods}
        if "GET" in allowed:
            allowed.add("HEAD")
        return Missing(tuple(sorted(allowed)))

    def _fitting(self, raw_path: str) -> list[tuple[Route, Mapping[str, str]]]:
        segments = _decoded(raw_path)
        # A proxy that keeps clients from a path must not be got around by an encoded slash.
        path = None if any("/" in segment for segment in segments) else "/".join(segments)
        found: list[tuple[int, Route, Mapping[str, str]]] = [
            (order, route, {}) for order, route in self._exact.get(path or "", ())
        ]
        for order, template, route in self._templates.get(len(segments), ()):
            parameters = _fit(template, segments)
            if parameters is not None:
                found.append((order, route, parameters))
        found.sort(key=lambda item: item[0])
        return [(route, parameters) for _, route, parameters in found]


def _template(path: str) -> Segments:
    segments = tuple(path.split("/"))
    for segment in segments:
        parameter = _is_parameter(segment)
        assert parameter or not set(segment) & set("{}"), (
            f"route {path!r}: {{name}} is a whole part"
        )
    assert path.startswith("/"), f"route {path!r} starts with a slash"
    return segments


def _is_parameter(segment: str) -> bool:
    return segment.startswith("{") and segment.endswith("}") and segment[1:-1].isidentifier()


def _decoded(raw_path: str) -> Segments:
    if "%" not in raw_path:
        return tuple(raw_path.split("/"))
    try:
        return tuple(unquote(segment, errors="strict") for segment in raw_path.split("/"))
    except UnicodeDecodeError as error:
        raise Invalid(f"cannot read path {raw_path!r}: not UTF-8") from error


def _fit(template: Segments, segments: Segments) -> dict[str, str] | None:
    parameters = {}
    for expected, actual in zip(template, segments, strict=True):
        if _is_parameter(expected):
            if not actual:
                return None
            parameters[expected[1:-1]] = actual
        elif expected != actual:
            return None
    return parameters
