"""ARCHITECTURE.md is the map: every part of the tree stands on it, and it names nothing else."""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "orrery"


def parts_in_the_tree() -> set[str]:
    folders = {f"{path.parent.name}/" for path in PACKAGE.glob("*/__init__.py")}
    files = {path.name for path in PACKAGE.glob("*.py") if path.stem != "__init__"}
    return folders | files


def parts_on_the_map() -> set[str]:
    text = (ROOT / "ARCHITECTURE.md").read_text()
    return set(re.findall(r"^\| `(\w+(?:/|\.py))` \|", text, re.M))


def test_the_map_shows_every_part() -> None:
    assert parts_on_the_map() == parts_in_the_tree()


def test_imports_go_down_only() -> None:
    program = Path(sys.executable).with_name("lint-imports")
    run = subprocess.run(
        [program, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stdout


def test_only_kernels_imports_the_compiled_core() -> None:
    importing = [
        str(path.relative_to(PACKAGE))
        for path in PACKAGE.rglob("*.py")
        if re.search(
            r"^\s*(from orrery import .*_core|from orrery\._core|import orrery\._core)",
            path.read_text(),
            re.M,
        )
    ]
    assert [path for path in importing if not path.startswith("kernels/")] == []


def test_links_in_documents_lead_somewhere() -> None:
    broken = []
    for document in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]:
        for target in re.findall(r"\]\((?!https?:|#|mailto:)([^)#\s]+)", document.read_text()):
            if not (document.parent / target).exists():
                broken.append(f"{document.relative_to(ROOT)} -> {target}")
    assert broken == []
