"""What earlier releases wrote is read for ever; the files are never written again."""

from pathlib import Path

import pytest

from orrery.errors import Corrupt
from orrery.model.selector import Operator
from orrery.tenancy import limits, retention, tokens
from orrery.tenancy.limits import Tenant
from orrery.tenancy.retention import RetentionRule, Rules
from orrery.tenancy.tokens import Permission, Token

GOLDEN = Path(__file__).parents[1] / "golden" / "formats"

TOKEN = Token(
    id="0123456789abcdef01234567",
    digest="0123456789abcdef" * 4,
    tenant="team-a",
    permissions=(Permission.READ, Permission.WRITE),
    created_ns=1_700_000_000_000_000_000,
    expires_ns=1_800_000_000_000_000_000,
    revoked_ns=None,
    description="for the golden file",
    forced_labels=(("source", "edge"),),
    forced_matchers=(("env", Operator.REGEX, "test|dev"),),
)
TENANT = Tenant(
    name="team-a",
    created_ns=1_700_000_000_000_000_000,
    description="for the golden file",
    limits={"active_series": 5, "query_seconds": 1.5, "acknowledgement": "memory"},
)
RULES = Rules(
    (
        RetentionRule(matchers=[("job", "=", "debug")], raw_days=2.0),
        RetentionRule(raw_days=30.0, resolutions={"5m": 90.0, "1h": 730.0, "1d": None}),
    )
)
FILES = [
    ("token_v1.json", tokens, TOKEN),
    ("tenant_v1.json", limits, TENANT),
    ("retention_v1.json", retention, RULES),
]


@pytest.mark.parametrize(("file", "module", "value"), FILES)
def test_golden_file(file, module, value):
    content = (GOLDEN / file).read_bytes()
    assert module.decode(content) == value
    assert module.encode(value) == content


@pytest.mark.parametrize(("file", "module", "value"), FILES)
def test_any_flipped_bit_is_named(file, module, value):
    content = (GOLDEN / file).read_bytes()
    for position in range(content.index(b'"document"') + 12, len(content) - 3):
        damaged = bytearray(content)
        damaged[position] ^= 1
        with pytest.raises(Corrupt):
            module.decode(bytes(damaged))
