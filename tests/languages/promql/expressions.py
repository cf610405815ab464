"""Random PromQL: trees whose types fit, for the properties that hold for all of them."""

from hypothesis import strategies as st

NAMES = ["a", "b", "c_total"]
LABELS = ["x", "y"]
durations = st.sampled_from(["10s", "35s", "1m", "1m30s"])
offsets = st.sampled_from(["", " offset 20s", " offset -10s", " @ 60", " @ start()", " @ end()"])
matchers = st.sampled_from(["", '{x="1"}', '{x!="1"}', '{y=~"1|2"}', '{y!~"2"}'])
numbers = st.sampled_from(["0", "1", "-2.5", "0.5", "NaN", "Inf", "1e3", "1m"])
selectors = st.builds("{}{}{}".format, st.sampled_from(NAMES), matchers, offsets)
ranges = st.builds("{}{}[{}]{}".format, st.sampled_from(NAMES), matchers, durations, offsets)
windows = st.sampled_from(
    [
        "rate", "increase", "delta", "irate", "idelta", "deriv", "resets", "changes",
        "avg_over_time", "min_over_time", "max_over_time", "sum_over_time", "count_over_time",
        "last_over_time", "first_over_time", "present_over_time", "stddev_over_time",
        "ts_of_max_over_time", "mad_over_time", "absent_over_time",
    ]
)  # fmt: skip
maps = st.sampled_from(["abs", "ceil", "sgn", "-", "sort", "timestamp", "minute", "absent"])
aggregates = st.sampled_from(["sum", "avg", "min", "max", "count", "group", "stddev", "stdvar"])
groupings = st.sampled_from(["", " by (x)", " by (x, y)", " without (y)"])
operators = st.sampled_from(["+", "-", "*", "/", "%", "^", "atan2", "==", "!=", ">", "<="])
matchings = st.sampled_from(["", " on (x)", " ignoring (y)", " on (x) group_left (y)"])


def vectors() -> st.SearchStrategy[str]:
    base = st.one_of(selectors, st.builds("{}({})".format, windows, ranges))
    return st.recursive(base, _above, max_leaves=4)


def _above(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.one_of(
        st.builds("({})".format, inner),
        st.builds("{}({})".format, maps, inner),
        st.builds("{}{} ({})".format, aggregates, groupings, inner),
        st.builds("topk{}(1, {})".format, groupings, inner),
        st.builds("quantile{}(0.5, {})".format, groupings, inner),
        st.builds("({} {} {})".format, inner, operators, numbers),
        st.builds("({} {} {})".format, numbers, operators, inner),
        st.builds("({} {}{} {})".format, inner, operators, matchings, inner),
        st.builds("({} {} {})".format, inner, st.sampled_from(["and", "or", "unless"]), inner),
        st.builds("{}(({})[{}:10s])".format, windows, inner, durations),
    )
