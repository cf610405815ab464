"""A setting that nothing reads is a promise that nobody keeps."""

import re
from pathlib import Path

from orrery.server.limits import HttpLimits
from orrery.settings import described

PACKAGE = Path(__file__).parents[2] / "src" / "orrery"
BY_FIELD = {f"http_{name}" for name in HttpLimits.__dataclass_fields__}
"""``http_limits`` reads them by the names of its fields, so it is the fields that must be used."""


def test_every_setting_is_used() -> None:
    texts = [path.read_text() for path in PACKAGE.rglob("*.py") if path.parent.name != "settings"]
    unused = []
    for setting in described():
        name = setting.name.removeprefix("limits.")
        read = name.removeprefix("http_") if name in BY_FIELD else name
        if not any(re.search(rf"\.{read}\b", text) for text in texts):
            unused.append(setting.name)
    assert unused == []
