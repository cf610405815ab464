"""docs/backup.md: every command in it runs, in its order, beside a running server."""

import re
import shlex
from pathlib import Path

from click.testing import CliRunner

import orrery
from orrery.cli.main import orrery as cli
from tests.reliability.serving import Orrery

PAGE = Path(__file__).parents[2] / "docs" / "backup.md"
BACKUP_ID = r"\d{8}T\d{6}Z-[0-9a-f]{8}"


def commands() -> list[str]:
    blocks = re.findall(r"^```(\w*)\n(.*?)^```$", PAGE.read_text(), re.M | re.S)
    return [line for kind, block in blocks if not kind for line in block.splitlines()]


def run(line: str, folder: Path, backup_id: str) -> str:
    line = line.replace("/backups/", f"{folder}/backups/")
    line = re.sub(r"/var/lib/orrery\b(?!-)", f"{folder}/data", line)
    line = re.sub(BACKUP_ID, backup_id, line.replace("/var/lib/", f"{folder}/"))
    program, *arguments = shlex.split(line)
    assert program == "orrery"
    done = CliRunner().invoke(cli, arguments)
    assert done.exit_code == 0, (line, done.output)
    return done.stdout


def test_every_command_runs(tmp_path: Path) -> None:
    lines = commands()
    backup_id = ""
    with Orrery(tmp_path, "") as server:
        assert server.write("cpu,series=1 value=1.5 1700000000000000000")[0] == 204
        for line in lines:
            said = run(line, tmp_path, backup_id)
            found = re.findall(rf"event=backed_up .*backup=({BACKUP_ID})", said)
            backup_id = backup_id or "".join(found)
    assert backup_id
    for restored in ("orrery-restored", "orrery-march"):
        with orrery.open(tmp_path / restored) as db:
            ((labels, times_ns, values),) = db.read("cpu", 1_700_000_000, 1_700_000_000)
            assert (labels["series"], list(times_ns), list(values)) == ("1", [17 * 10**17], [1.5])


def test_every_command_of_the_page_is_tried() -> None:
    tried = {" ".join(line.split()[:2]) for line in commands()}
    assert tried == {"orrery backup", "orrery verify", "orrery restore"}
