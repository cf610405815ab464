"""Functions that rewrite labels."""

from orrery.errors import Invalid
from orrery.kernels.relabel import expand_matches
from orrery.languages.promql.functions.registry import STRING, VECTOR, Arguments, whole
from orrery.languages.promql.tokens import go_quote, is_utf8
from orrery.languages.promql.values import (
    Vector,
    column,
    fail,
    merge_duplicates,
    with_column,
)


def is_label_name(name: str) -> bool:
    """Any UTF-8 text but the empty one; bytes that are not UTF-8 show as lone surrogates."""
    return name != "" and is_utf8(name)


@whole("label_replace", VECTOR, STRING, STRING, STRING, STRING)
def label_replace(arguments: Arguments) -> Vector:
    vector = arguments.vector(0)
    target, source = arguments.string(1), arguments.string(3)
    template, pattern = arguments.text(2), arguments.text(4)
    if not is_label_name(target):
        fail(f"invalid destination label name in label_replace(): {target}")
    try:
        expanded = expand_matches(pattern, template, column(vector.labels, source))
    except Invalid as error:
        cause = f"invalid regular expression in label_replace(): {pattern}"
        raise type(error)(f"{cause}: {error}") from error
    labels = with_column(vector.labels, target, expanded)
    return merge_duplicates(vector.with_labels(labels))


@whole("label_join", VECTOR, STRING, STRING, STRING, repeats=True)
def label_join(arguments: Arguments) -> Vector:
    vector = arguments.vector(0)
    target, separator = arguments.string(1), arguments.text(2)
    sources = [arguments.string(index) for index in range(3, len(arguments.values))]
    for source in sources:
        if not is_label_name(source):
            fail(f"invalid source label name in label_join(): {go_quote(source)}")
    if not is_label_name(target):
        fail(f"invalid destination label name in label_join(): {go_quote(target)}")
    joined = [""] * len(vector.labels)
    if sources:
        columns = [column(vector.labels, source) for source in sources]
        joined = [separator.join(texts) for texts in zip(*columns, strict=True)]
    labels = with_column(vector.labels, target, joined)
    return merge_duplicates(vector.with_labels(labels))
