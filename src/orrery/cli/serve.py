"""``orrery serve`` and ``orrery settings``: their flags are made from the settings' struct."""

import gc
import os
from pathlib import Path
from typing import Any

import click

from orrery import settings as all_settings
from orrery.cli.application import application
from orrery.cli.version import release
from orrery.settings import Setting

GARBAGE_OBJECTS_MAX = 20_000

SHOWN = (
    "data_dir",
    "http",
    "auth",
    "auth_none_forced",
    "http_allow_host",
    "tls_certificate_file",
    "tls_key_file",
    "head_bytes_max",
    "host_metrics_seconds",
    "log_level",
)
"""The flags that ``--help`` lists; ``orrery settings`` lists all."""


def _option(setting: Setting) -> click.Option:
    flag = setting.flag
    if setting.type is bool:
        flag = f"{flag}/--no-{flag.removeprefix('--')}"
    default = all_settings.shown(setting.default)
    return click.Option(
        [flag, _parameter(setting)],
        help=f"{setting.description.replace('`', '')}  [{default.strip('`')}]",
        hidden=setting.name not in SHOWN,
        default=None,
        multiple=setting.is_list,
        type=_type(setting),
        metavar=None if setting.type is bool else _metavar(setting),
    )


def _type(setting: Setting) -> Any:  # noqa: ANN401 - click takes several kinds of type
    if setting.type is bool:
        return bool
    return click.Choice(setting.choices) if setting.choices else str


def _metavar(setting: Setting) -> str | None:
    if setting.name == "http":
        return "HOST:PORT"
    kinds = {int: "NUMBER", float: "SECONDS"}
    return None if setting.choices else kinds.get(setting.type, "TEXT")


def _parameter(setting: Setting) -> str:
    return setting.name.replace(".", "__")


def _with_settings(command: click.Command) -> click.Command:
    command.params.extend(_option(setting) for setting in all_settings.described())
    return command


def _given(parameters: dict[str, Any]) -> dict[str, object]:
    found: dict[str, object] = {}
    for setting in all_settings.described():
        value = parameters[_parameter(setting)]
        if value is not None and value != ():
            found[setting.name] = list(value) if setting.is_list else value
    return found


@_with_settings
@click.command(
    epilog="Every setting may stand in the file, in the environment (ORRERY_HTTP=...) "
    "or here; `orrery settings` lists all of them."
)
@click.option(
    "--config",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    envvar="ORRERY_CONFIG",
    help="TOML file with settings.",
)
@click.pass_context
def serve(context: click.Context, /, config: Path | None, **parameters: Any) -> None:  # noqa: ANN401
    """Run the server until SIGTERM or Ctrl-C."""
    loaded = all_settings.load(file=config, environment=os.environ, flags=_given(parameters))
    # A request leaves a few dozen objects and no cycles: looking for these every few requests
    # costs some percent of a write, and what stands now stays.
    gc.freeze()
    gc.set_threshold(GARBAGE_OBJECTS_MAX)
    application(context).serve(loaded, lambda url: click.echo(greeting(url, loaded)))


def greeting(url: str, settings: all_settings.Settings) -> str:
    """Where it listens and what to try first."""
    needs = "" if settings.auth == "none" else " (each needs a token: `orrery token create`)"
    query = "rate(node_cpu_seconds_total[1m])" if settings.host_metrics_seconds else "up"
    return f"""\
Orrery {release()} listens on {url}, data in {settings.data_dir}{needs}
  Prometheus:  remote_write: [{{url: {url}/api/v1/write}}]
  Telegraf:    [[outputs.influxdb]]  urls = ["{url}"]  skip_database_creation = true
  Grafana:     a Prometheus data source at {url}
  Try:         curl -s {url}/api/v1/query --data-urlencode 'query={query}'"""


@click.command()
def settings() -> None:
    """List every setting with its default: the tables of docs/configuration.md."""
    click.echo(all_settings.markdown(), nl=False)
