import pytest
from hypothesis import given
from hypothesis import strategies as st

from orrery.errors import Invalid
from orrery.tenancy.names import PART_CHARACTERS_MAX, check_tenant, name_of_part, object_part

ALPHABET = "abcXYZ019!-_.*'()"


@pytest.mark.parametrize("name", ["a", "team-1", "A_b.c", "x" * 150, "(it's!)", "a*"])
def test_name_accepted(name):
    assert check_tenant(name) == name


@pytest.mark.parametrize(
    "name", ["", "*", ".", "..", "a|b", "a b", "a/b", "é", "a\n", "x" * 151, "__mimir_cluster"]
)
def test_name_refused(name):
    with pytest.raises(Invalid, match="cannot use tenant"):
        check_tenant(name)


@given(st.sets(st.text(ALPHABET, min_size=1, max_size=150), min_size=2, max_size=20))
def test_two_names_never_share_an_object(names):
    parts = [object_part(name) for name in names]
    assert len(set(parts)) == len(names)
    for name in names:
        is_hashed = object_part(name).startswith("=sha256=")
        assert name_of_part(object_part(name)) == (None if is_hashed else name)
    assert all(len(part) <= PART_CHARACTERS_MAX for part in parts)
    assert not set("".join(parts)) - set("abcXYZ0123456789ABCDEFabcdef=-_.shaXYZ")
