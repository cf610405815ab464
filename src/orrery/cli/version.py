"""``orrery version``."""

from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as version_of

import click

DISTRIBUTION = "orrery-db"


@click.command()
def version() -> None:
    """Print the version."""
    click.echo(f"orrery {release()}")


def release() -> str:
    """The installed release, or a word that says it is run from source."""
    try:
        return version_of(DISTRIBUTION)
    except PackageNotFoundError:
        return "unreleased"
