import pytest

from orrery.errors import Invalid
from orrery.kernels.selector import check_matchers, matcher_passes


@pytest.mark.parametrize(
    ("operator", "pattern", "passing", "failing"),
    [
        ("=", "a", ["a"], ["", "A", "aa"]),
        ("!=", "a", ["", "b"], ["a"]),
        ("=~", "a|b", ["a", "b"], ["ab", ""]),
        ("=~", "web-.*", ["web-", "web-1", "web-\n"], ["xweb-1"]),
        ("=~", "", [""], ["a"]),
        ("!~", "web-.+", ["web-", ""], ["web-1"]),
        ("=~", r"\d{3}", ["123"], ["12", "\u0661\u0662\u0663"]),
        ("=~", "(?i:abc)", ["aBc"], ["abd"]),
    ],
)
def test_a_matcher_tests_the_whole_value(operator, pattern, passing, failing):
    got = matcher_passes(("x", operator, pattern), [*passing, *failing])
    assert got == [True] * len(passing) + [False] * len(failing)


@pytest.mark.parametrize("pattern", ["a(", "*", "[a", "(?=a)", "a{2000}", "\\y", "a)|(b"])
def test_a_wrong_regex_is_named(pattern):
    with pytest.raises(Invalid, match=r"cannot read regex .* of label \"host\": ") as caught:
        check_matchers([("ok", "=", "1"), ("host", "=~", pattern)])
    assert pattern.replace("\\", "\\\\") in str(caught.value)


def test_a_wrong_operator_is_named():
    with pytest.raises(Invalid, match="operator"):
        check_matchers([("a", "==", "b")])


def test_a_huge_alternation_of_literals_is_a_set():
    names = [f"host-{number}" for number in range(20_000)]
    got = matcher_passes(("host", "=~", "|".join(names)), [names[7], names[-1], "host-", "x"])
    assert got == [True, True, False, False]
