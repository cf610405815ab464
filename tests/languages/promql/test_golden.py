"""The plain-text tests: what each operator and function means, for anyone to read."""

import numpy as np
import pytest

from orrery.errors import Invalid
from tests.languages.promql import golden
from tests.languages.promql.store import Store

STALE = float(np.int64(0x7FF0000000000002).view(np.float64))
FILES = sorted(golden.FOLDER.glob("*.txt"))


@pytest.mark.parametrize("batch_size", [1000, 1], ids=["one-batch", "single-rows"])
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_file_holds(path, batch_size):
    store = Store(batch_size)
    for step in golden.read(path):
        if step == "forget":
            store = Store(batch_size)
        elif isinstance(step, golden.Stored):
            store.write(step.labels, samples(step))
        else:
            check(step, store)


def samples(stored: golden.Stored) -> dict[int, float]:
    return {
        index * stored.every_ns: STALE if value == "stale" else value
        for index, value in enumerate(stored.values)
        if value is not None
    }


def check(ask: golden.Ask, store: Store) -> None:
    where = f"line {ask.line}: {ask.query}"
    arguments = {"start_ns": ask.start_ns, "end_ns": ask.end_ns, "step_ns": ask.step_ns}
    if ask.fails is not None:
        with pytest.raises(Invalid) as caught:
            store.query(ask.query, **arguments)
        assert ask.fails in str(caught.value), where
        return
    result = store.query(ask.query, **arguments)
    for wanted, found in ((ask.warns, result.warnings), (ask.informs, result.infos)):
        assert len(wanted) == len(found), (where, found)
        assert all(any(part in one for one in found) for part in wanted), (where, found)
    if ask.scalar is not None:
        assert result.kind == "scalar", where
        assert golden.same(ask.scalar, float(result.values[0, 0])), (where, result.values)
        return
    if ask.text is not None:
        assert (result.kind, result.text) == ("string", ask.text), where
        return
    check_series(ask, result, where)


def check_series(ask: golden.Ask, result, where: str) -> None:
    found = {
        labels: [
            float(value) if there else None
            for value, there in zip(result.values[row], result.present[row], strict=True)
        ]
        for row, labels in enumerate(result.labels)
    }
    assert len(found) == len(result.labels), where
    assert set(found) == {labels for labels, _ in ask.series}, where
    for labels, values in ask.series:
        assert len(values) == len(found[labels]), (where, found[labels])
        pairs = zip(values, found[labels], strict=True)
        assert all(golden.same(*pair) for pair in pairs), (where, labels, found[labels])
    if ask.in_order:
        assert list(result.labels) == [labels for labels, _ in ask.series], where
