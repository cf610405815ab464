"""The receipt of a delete against a real server, by the commands a person types."""

import json
import subprocess
from pathlib import Path

import orrery
from tests.reliability.serving import ORRERY, TINY, Orrery

START = 1_700_000_000


def receipt(server: Orrery, *arguments: str) -> list | dict:
    command = [ORRERY, "receipt", *arguments, "--json", "--data-dir", str(server.data)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_delete_is_gone_from_the_disk_when_its_receipt_says_so(tmp_path: Path) -> None:
    secret = "patient-4711"
    quick = TINY.replace("object_grace_seconds = 1.0", "object_grace_seconds = 0.0")
    with Orrery(tmp_path, quick) as server:
        lines = [f"{name},series=1 value=1 {START}000000000" for name in (secret, "other")]
        assert server.write("\n".join(lines), **{"x-scope-orgid": "acme"})[0] == 204
        server.compact()
        url = f"http://127.0.0.1:{server.port}"
        with orrery.connect(url, tenant="acme") as db:
            told = db.delete(f'{{__name__="{secret}"}}')
        assert (told.series, told.samples, told.is_exact) == (1, 1, True)
        server.compact()
        for _ in range(100):
            found = receipt(server, "show", str(told.id), "--tenant", "acme")
            if found["removed_ns"] is not None:
                break
            # Upkeep removes files every 0.2 seconds.
            server.ask("GET", "/-/ready")
        assert found["removed_ns"] >= found["rewritten_ns"] > found["accepted_ns"]
        assert [one["id"] for one in receipt(server, "list", "--tenant", "acme")] == [told.id]
        assert receipt(server, "list") == []
        held = [path for folder in ("blocks", "log") for path in (server.data / folder).rglob("*")]
        contents = [path.read_bytes() for path in held if path.is_file()]
        assert not any(secret.encode() in content for content in contents)
        assert any(b"other" in content for content in contents)
