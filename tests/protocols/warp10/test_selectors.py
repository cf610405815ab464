"""Selectors as matchers of the store."""

import pytest

from orrery.errors import Invalid
from orrery.protocols.warp10.selectors import read_selector, read_selectors

FREE = ("__field__", "=", "")


def shown(text):
    return [
        ([(m.label, str(m.operator), m.value) for m in selector.matchers], class_matcher)
        for selector, class_matcher in read_selector(text).choices()
    ]


def test_a_class_may_be_a_name_or_name_and_field():
    assert shown("a.b.c{k=v}") == [
        ([("__measurement__", "=", "a.b.c"), FREE, ("k", "=", "v")], None),
        ([("__measurement__", "=", "a"), ("__field__", "=", "b.c"), ("k", "=", "v")], None),
        ([("__measurement__", "=", "a.b"), ("__field__", "=", "c"), ("k", "=", "v")], None),
    ]
    assert shown("=.a.{}") == [
        ([("__measurement__", "=", ".a."), FREE], None),
    ]


def test_an_expression_looks_at_both():
    assert shown("~a.*{}") == [
        ([("__measurement__", "=~", "a.*"), FREE], None),
        ([("__field__", "!=", "")], ("=~", "a.*")),
    ]


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ("a=1,b=2", [("a", "=", "1"), ("b", "=", "2")]),
        (" a=1 ,, b= ", [("a", "=", "1"), ("b", "=", "")]),
        ("a~x|y", [("a", "!=", ""), ("a", "=~", "x|y")]),
        ("a=~x", [("a", "=", "~x")]),
        ("%3D%2C=%7D%20", [("=,", "=", "} ")]),
    ],
)
def test_labels(labels, expected):
    [(matchers, _)] = shown(f"c{{{labels}}}")
    assert matchers[2:] == expected


@pytest.mark.parametrize("text", ["", "c", "{}", "c{a}", "c{=a}", "c{a=b=c}", "c{", "%ff{}"])
def test_what_is_no_selector_is_refused(text):
    with pytest.raises(Invalid, match="cannot read"):
        read_selector(text)


def test_there_are_bounds():
    with pytest.raises(Invalid, match="more than 1000"):
        read_selectors("c{} " * 1001)
    with pytest.raises(Invalid, match="more than 64 points"):
        read_selector("a." * 70 + "b{}").choices()
