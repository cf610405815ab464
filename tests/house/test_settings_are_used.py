"""A setting that nothing reads is a promise that nobody keeps."""

import re
from pathlib import Path

from orrery.server.limits import DatagramLimits, HttpLimits, StreamLimits
from orrery.settings import described

PACKAGE = Path(__file__).parents[2] / "src" / "orrery"
BY_FIELD = {
    prefix + name: name
    for prefix, limits in (
        ("http_", HttpLimits),
        ("stream_", StreamLimits),
        ("datagram_", DatagramLimits),
    )
    for name in limits.__dataclass_fields__
}
"""They are read by the names of the fields, so it is the fields that must be used."""


def test_every_setting_is_used() -> None:
    texts = [path.read_text() for path in PACKAGE.rglob("*.py") if path.parent.name != "settings"]
    unused = []
    for setting in described():
        name = setting.name.removeprefix("limits.")
        read = BY_FIELD.get(name, name)
        if not any(re.search(rf"\.{read}\b", text) for text in texts):
            unused.append(setting.name)
    assert unused == []
