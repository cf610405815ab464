"""Queries read, checked and looked through once for as long as their text is asked.

``app`` makes one :class:`Preparations` for a server; the wires ask it on any thread. Dashboards
ask the same queries of other hosts: of a query that the core evaluates in one call, only the
texts are looked at anew.
"""

import threading
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from functools import cached_property

from orrery.errors import Invalid
from orrery.kernels.fused import SLOT, Fused
from orrery.languages.promql.evaluate import evaluate
from orrery.languages.promql.fuse import fused_parts, may_be_filled
from orrery.languages.promql.invariance import invariant_nodes
from orrery.languages.promql.lengths import is_computed
from orrery.languages.promql.nodes import Expr, Kind, walk
from orrery.languages.promql.parse import parse
from orrery.languages.promql.reach import Reach, reach_of
from orrery.languages.promql.result import Result
from orrery.languages.promql.tokens import is_utf8
from orrery.languages.promql.types import kind_of
from orrery.languages.promql.values import Steps
from orrery.model.effects import Compute, Effect, StepFrames

PREPARED_CHARACTERS_MAX = 262_144
"""Of all the texts that are kept: a tree and its compiled patterns take a hundred times that."""

UNPLAIN = frozenset("#`'\\" + SLOT)
"""Where a query holds none of these, its texts are what stands between two double quotes."""


@dataclass(frozen=True, eq=False)
class Prepared:
    """A sound query; ``whole`` where the core evaluates all of it in one call."""

    text: str
    lookback_ns: int
    kind: Kind
    whole: Fused | None
    reach: Reach | None
    """How far around it a step looks; None where that does not bound what decides its value."""

    @cached_property
    def tree(self) -> "Tree":
        return read(self.text, self.lookback_ns)

    @property
    def is_brief(self) -> bool:
        """Whether it may well be answered in a moment: in one call that looks its series up."""
        return self.whole is not None and self.whole.looks_up

    def answer(
        self, *, start_ns: int, end_ns: int, step_ns: int, cells_max: int
    ) -> Generator[Effect, object, Result]:
        """As ``evaluate``, which it leaves to do what cannot be done in one call."""
        if self.whole is not None:
            count = 1 if step_ns == 0 else max(0, (end_ns - start_ns) // step_ns) + 1
            found = yield Compute(self.whole, start_ns, step_ns, count, is_ordered=step_ns > 0)
            if found is not None:
                assert isinstance(found, StepFrames)
                return table(found, Steps(start_ns, step_ns, count))
        tree = self.tree
        result = yield from evaluate(
            tree.expression,
            start_ns=start_ns,
            end_ns=end_ns,
            step_ns=step_ns,
            lookback_ns=self.lookback_ns,
            cells_max=cells_max,
            text=self.text,
            fused={} if self.whole is not None else tree.fused,
            invariant=None if tree.is_computed else tree.invariant,
        )
        return result


@dataclass(frozen=True, slots=True, eq=False)
class Tree:
    """``fused`` and ``invariant`` name nodes of ``expression`` by their ``id``."""

    expression: Expr
    is_computed: bool
    """Whether it holds durations that depend on the query."""
    invariant: frozenset[int]
    fused: Mapping[int, Fused]


def table(found: StepFrames, steps: Steps) -> Result:
    kind = "matrix" if steps.step_ns else "vector"
    return Result(kind, found.labels, steps.times_ns(), found.values, found.present)


def read(text: str, lookback_ns: int) -> Tree:
    """Raises Invalid as ``parse`` does."""
    expression = parse(text)
    return Tree(
        expression=expression,
        is_computed=any(is_computed(node) for node in walk(expression)),
        invariant=invariant_nodes(expression),
        fused=fused_parts(expression, lookback_ns),
    )


def prepared(text: str, lookback_ns: int) -> Prepared:
    tree = read(text, lookback_ns)
    whole = tree.fused.get(id(tree.expression))
    reach = reach_of(tree.expression, lookback_ns)
    made = Prepared(text, lookback_ns, kind_of(tree.expression), whole, reach)
    made.__dict__["tree"] = tree
    return made


class Preparations:
    """The queries asked last, and their shapes: the same with other texts."""

    def __init__(self, *, characters_max: int = PREPARED_CHARACTERS_MAX) -> None:
        self._characters_max = characters_max
        self._lock = threading.Lock()
        self._kept: dict[tuple[str, int], Prepared | None] = {}
        self._characters = 0

    def of(self, text: str, lookback_ns: int) -> Prepared:
        """Raises Invalid as ``parse`` does."""
        found, _ = self._known(text, lookback_ns)
        if found is None:
            found = self._alike(text, lookback_ns) or prepared(text, lookback_ns)
            self._keep(text, lookback_ns, found)
        return found

    def known(self, text: str, lookback_ns: int) -> Prepared | None:
        """Only where it is there already."""
        return self._known(text, lookback_ns)[0]

    def _known(self, text: str, lookback_ns: int) -> tuple[Prepared | None, bool]:
        key = (text, lookback_ns)
        with self._lock:
            if key not in self._kept:
                return None, False
            found = self._kept[key] = self._kept.pop(key)
        return found, True

    def _keep(self, text: str, lookback_ns: int, found: Prepared | None) -> None:
        key = (text, lookback_ns)
        with self._lock:
            if key not in self._kept:
                self._characters += len(text)
            self._kept[key] = found
            while self._characters > self._characters_max:
                oldest = next(iter(self._kept))
                del self._kept[oldest]
                self._characters -= len(oldest[0])

    def _alike(self, text: str, lookback_ns: int) -> Prepared | None:
        """What another query of its shape gives; None where it must be read itself."""
        parts = text.split('"')
        if len(parts) < 3 or len(parts) % 2 == 0 or not UNPLAIN.isdisjoint(text):
            return None
        texts = parts[1::2]
        parts[1::2] = [f"{SLOT}{number}" for number in range(len(texts))]
        shape = '"'.join(parts)
        model, is_known = self._known(shape, lookback_ns)
        if not is_known:
            model = model_of(shape, lookback_ns)
            self._keep(shape, lookback_ns, model)
        if model is None or model.whole is None or "\n" in "".join(texts):
            return None
        try:
            whole = model.whole.filled(texts) if all(map(is_utf8, texts)) else None
        except Invalid:
            return None
        if whole is None:
            return None
        return Prepared(text, lookback_ns, model.kind, whole, model.reach)


def model_of(shape: str, lookback_ns: int) -> Prepared | None:
    """What queries of a shape share; None where their texts decide more than what is selected."""
    try:
        model = prepared(shape, lookback_ns)
    except Invalid:
        return None
    if model.whole is None or not all(map(may_be_filled, walk(model.tree.expression))):
        return None
    return model
