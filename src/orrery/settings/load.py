"""Settings from a TOML file, the environment and flags; a flag wins over the environment, and that
over the file.

``cli`` calls :func:`load`. A setting has one name everywhere: ``http_body_bytes_max`` in the file,
``ORRERY_HTTP_BODY_BYTES_MAX`` in the environment and ``--http-body-bytes-max`` as a flag.
"""

import difflib
import tomllib
import types
import typing
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import msgspec
from msgspec import Struct

from orrery.errors import Invalid
from orrery.settings.declared import Limits, Settings

ENVIRONMENT_PREFIX = "ORRERY_"


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting, described: ``name`` is dotted for those of ``[limits]``."""

    name: str
    type: Any
    default: object
    description: str
    at_least: float | None
    at_most: float | None

    @property
    def flag(self) -> str:
        return "--" + self.name.replace(".", "-").replace("_", "-")

    @property
    def environment(self) -> str:
        return ENVIRONMENT_PREFIX + self.name.replace(".", "_").upper()

    @property
    def is_list(self) -> bool:
        return typing.get_origin(self.type) is tuple

    @property
    def choices(self) -> tuple[str, ...]:
        return typing.get_args(self.type) if typing.get_origin(self.type) is Literal else ()


def described() -> list[Setting]:
    """Every setting in the order of the struct, those of ``[limits]`` last."""
    return [*_described(Settings, ""), *_described(Limits, "limits.")]


def _described(struct: type[Struct], prefix: str) -> Iterator[Setting]:
    hints = typing.get_type_hints(struct, include_extras=True)
    for field in msgspec.structs.fields(struct):
        if field.name == "limits":
            continue
        kind, meta = typing.get_args(hints[field.name])
        low = meta.ge if meta.ge is not None else meta.gt
        yield Setting(
            prefix + field.name, kind, field.default, meta.description or "", low, meta.le
        )


def load(
    *,
    file: Path | None = None,
    environment: Mapping[str, str] | None = None,
    flags: Mapping[str, object] | None = None,
) -> Settings:
    """Settings from the three sources; ``flags`` has dotted setting names, unset ones left out.

    ``Invalid`` names the source, the setting, and for an unknown name the nearest known one.
    """
    known = {setting.name: setting for setting in described()}
    merged: dict[str, object] = {}
    if file is not None:
        _merge(merged, _file_values(file), known, source=str(file), texts=False)
    if environment is not None:
        values = _environment_values(environment, known)
        _merge(merged, values, known, source="the environment", texts=True)
    _merge(merged, flags or {}, known, source="the command line", texts=True)
    return _settings(merged)


def of_environment(environment: Mapping[str, str]) -> Settings:
    """For commands without settings of their own: the environment, and the file it names."""
    file = environment.get("ORRERY_CONFIG")
    return load(file=Path(file) if file else None, environment=environment)


def limits_with(defaults: Limits, overrides: Mapping[str, object]) -> Limits:
    """``defaults`` with some replaced; for a tenant's own limits."""
    check_limit_names(overrides)
    try:
        return msgspec.convert({**msgspec.structs.asdict(defaults), **overrides}, Limits)
    except msgspec.ValidationError as error:
        raise Invalid(f"cannot set limits: {error}") from error


def check_limit_names(names: Iterable[str]) -> None:
    known = {field.name: field for field in msgspec.structs.fields(Limits)}
    for name in names:
        if name not in known:
            raise _unknown("limit", name, known, "the request")


def _settings(values: Mapping[str, object]) -> Settings:
    top = {name: value for name, value in values.items() if "." not in name}
    limits = {name.removeprefix("limits."): value for name, value in values.items() if "." in name}
    try:
        return msgspec.convert({**top, "limits": limits}, Settings)
    except msgspec.ValidationError as error:
        raise Invalid(f"cannot use the settings: {error}") from error


def _merge(
    into: dict[str, object],
    values: Mapping[str, object],
    known: Mapping[str, Setting],
    *,
    source: str,
    texts: bool,
) -> None:
    """``texts``: the source knows only text, so ``"5"`` may mean the number."""
    for name, value in values.items():
        if name not in known:
            raise _unknown("setting", name, known, source)
        into[name] = _converted(known[name], value, source=source, texts=texts)


def _converted(setting: Setting, value: object, *, source: str, texts: bool) -> object:
    annotated = typing.get_type_hints(
        Limits if setting.name.startswith("limits.") else Settings, include_extras=True
    )[setting.name.removeprefix("limits.")]
    from_text = texts and isinstance(value, str) and not _holds_text(setting)
    if texts and setting.is_list and isinstance(value, str):
        value = [part.strip() for part in value.split(",") if part.strip()]
    try:
        return msgspec.convert(value, annotated, strict=not from_text)
    except msgspec.ValidationError as error:
        raise Invalid(f"cannot use setting {setting.name!r} from {source}: {error}") from error


def _holds_text(setting: Setting) -> bool:
    kinds = typing.get_args(setting.type) if _is_union(setting.type) else (setting.type,)
    return any(kind is str for kind in kinds)


def _is_union(kind: object) -> bool:
    return typing.get_origin(kind) in (types.UnionType, typing.Union)


def _unknown(what: str, name: str, known: Mapping[str, object], source: str) -> Invalid:
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return Invalid(f"cannot use {what} {name!r} from {source}: there is no such {what}{hint}")


def _file_values(file: Path) -> dict[str, object]:
    try:
        with file.open("rb") as opened:
            document = tomllib.load(opened)
    except OSError as error:
        raise Invalid(f"cannot read settings {str(file)!r}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise Invalid(f"cannot read settings {str(file)!r}: {error}") from error
    limits = document.pop("limits", {})
    if not isinstance(limits, dict):
        raise Invalid(f"cannot read settings {str(file)!r}: limits is not a table")
    return {**document, **{f"limits.{name}": value for name, value in limits.items()}}


def _environment_values(
    environment: Mapping[str, str], known: Mapping[str, Setting]
) -> dict[str, object]:
    by_variable = {setting.environment: setting.name for setting in known.values()}
    found: dict[str, object] = {}
    for variable, text in environment.items():
        if not variable.startswith(ENVIRONMENT_PREFIX) or variable in NOT_SETTINGS:
            continue
        if variable not in by_variable:
            raise _unknown("setting", variable, by_variable, "the environment")
        found[by_variable[variable]] = text
    return found


NOT_SETTINGS = frozenset({"ORRERY_SHARED", "ORRERY_CONFIG", "ORRERY_TOKEN", "ORRERY_URL"})
"""Variables with our prefix that others read: the tests, and the command line itself."""
