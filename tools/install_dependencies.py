"""Install what pyproject.toml names for development, without the project itself.

Called by `make setup`: the core is built by maturin afterwards, so only dependencies are wanted.
"""

import subprocess
import sys
import tomllib
from pathlib import Path


def requirements() -> list[str]:
    with (Path(__file__).parent.parent / "pyproject.toml").open("rb") as file:
        project = tomllib.load(file)
    extras = project["project"]["optional-dependencies"]
    development = project["dependency-groups"]["development"]
    optional = [line for lines in extras.values() for line in lines]
    return sorted({*project["project"]["dependencies"], *optional, *development})


if __name__ == "__main__":
    subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", *requirements()], check=True)
