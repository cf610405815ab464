"""Runs Prometheus' own language tests, where they are present: against the evaluator in-process,
and for ``test_conformance`` against a server over HTTP.

    python -m tests.compat.conformance [-v] [FILE...]

The scripts and their reader live outside the repository (``ORRERY_SHARED``, else ``../shared``).
"""

import argparse
import collections
import importlib
import os
import sys
import types
from pathlib import Path

import numpy as np

REPOSITORY = Path(__file__).resolve().parents[2]


def shared() -> Path:
    return Path(os.environ.get("ORRERY_SHARED", REPOSITORY.parent / "shared"))


def scripts() -> list[Path]:
    return sorted((shared() / "conformance" / "promql").glob("*.test"))


def reader() -> types.ModuleType:
    """The reader of the scripts, imported from where it lies."""
    folder = str(shared() / "conformance")
    before = sys.dont_write_bytecode
    sys.dont_write_bytecode = True
    sys.path.insert(0, folder)
    try:
        return importlib.import_module("promqltest")
    finally:
        sys.path.remove(folder)
        sys.dont_write_bytecode = before


def number(value: float) -> str:
    if value != value:
        return "NaN"
    return repr(float(value)).replace("inf", "Inf")


class Target:
    """What the reader asks, answered by the evaluator over a store in memory."""

    def __init__(self) -> None:
        from tests.languages.promql.store import Store

        self.make = Store
        self.store = Store()
        self.rejected = set()

    def reset(self) -> None:
        self.store = self.make()

    def close(self) -> None:
        self.reset()

    def query(self, path: str, params: dict[str, str]) -> tuple[int, dict]:
        from orrery.errors import OrreryError

        def nanoseconds(name: str) -> int:
            return round(float(params[name]) * 1000) * 1_000_000

        try:
            if path.endswith("query_range"):
                result = self.store.query(
                    params["query"],
                    start_ns=nanoseconds("start"),
                    end_ns=nanoseconds("end"),
                    step_ns=nanoseconds("step"),
                )
            else:
                result = self.store.query(params["query"], start_ns=nanoseconds("time"))
        except OrreryError as error:
            return 422, {"status": "error", "errorType": "execution", "error": str(error)}
        body = {"status": "success", "data": render(result)}
        return 200, {**body, "warnings": list(result.warnings), "infos": list(result.infos)}


def render(result) -> dict:
    """A result as the HTTP API writes it."""
    times = [time / 1e9 for time in result.times_ns.tolist()]
    if result.kind == "string":
        return {"resultType": "string", "result": [times[0], result.text]}
    if result.kind == "scalar":
        return {"resultType": "scalar", "result": [times[0], number(result.values[0, 0])]}
    rows = []
    if result.samples is not None:
        frames = result.samples
        for row, labels in enumerate(frames.labels):
            part = slice(frames.offsets[row], frames.offsets[row + 1])
            pairs = zip(frames.times_ns[part].tolist(), frames.values[part].tolist(), strict=True)
            points = [[time / 1e9, number(value)] for time, value in pairs]
            rows.append({"metric": dict(labels), "values": points})
        return {"resultType": "matrix", "result": rows}
    for row, labels in enumerate(result.labels):
        points = [
            [times[step], number(result.values[row, step])]
            for step in np.nonzero(result.present[row])[0]
        ]
        if result.kind == "vector":
            rows.append({"metric": dict(labels), "value": points[0]})
        else:
            rows.append({"metric": dict(labels), "values": points})
    return {"resultType": result.kind, "result": rows}


def run_file(path: Path, target: Target, options) -> list[dict]:
    """As the reader does for a server, but the loads go straight into the store."""
    read = reader()
    results = []
    context = {"hist": set(), "st": False, "bad": None}
    target.reset()
    for command in read.parse_script(str(path)):
        if command == "clear":
            context.update(hist=set(), st=False)
            target.reset()
        elif isinstance(command, read.Load):
            load(read, command, target, context)
        else:
            tags = read.tags_of(command, str(path), context, set())
            result = {"file": path.name, "line": command.line, "expr": command.expr, "tags": tags}
            try:
                verdict, message, strict = read.run_eval(command, target, options)
            except Exception as error:  # a defect of the evaluator: it is one failure, not all
                verdict, message, strict = "error", f"{type(error).__name__}: {error}", None
            result.update(verdict=verdict, message=message, strict=strict)
            results.append(result)
    return results


def load(read, command, target: Target, context: dict) -> None:
    series = {}
    for labels, values in command.series:
        series[read.labels_key(labels)] = values
    context["st"] |= command.st
    rows = [(dict(labels), values) for labels, values in series.items()]
    if command.nhcb:
        rows += read.nhcb_series(rows, command.step)
    for labels, values in rows:
        samples = {}
        for index, value in enumerate(values):
            time_ns = index * command.step * 1_000_000
            if isinstance(value, read.Hist):
                context["hist"].add(labels.get("__name__", ""))
            elif value is read.STALEV:
                samples[time_ns] = float(np.int64(0x7FF0000000000002).view(np.float64))
            elif value is not read.OMIT:
                samples[time_ns] = value
        if samples:
            target.store.write(labels, samples)


def run_over_http(url: str) -> list[dict]:
    """Every script against the server at ``url``, each cleared store a tenant of its own."""
    read = reader()
    header = "X-Scope-OrgID: scripts{n}"
    target = read.HttpTarget(f"{url}/api/v1/write", url, [header], None, 0.0)
    given = types.SimpleNamespace(
        **vars(options()), no_native=False, skip_tag=[], refused=0, verbose=0
    )
    try:
        return [
            result
            for path in scripts()
            for result in read.run_file(str(path), target, given, set())
        ]
    finally:
        target.close()


def is_classic(result: dict) -> bool:
    return not set(result["tags"]) - {"annotations", "expect_fail"}


def options() -> types.SimpleNamespace:
    return types.SimpleNamespace(base_ms=0, range_check=False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="*")
    parser.add_argument("-v", action="count", default=0)
    parser.add_argument("--classic", action="store_true", help="show only classic failures")
    given = parser.parse_args()
    chosen = [path for path in scripts() if not given.files or path.stem in given.files]
    target = Target()
    total = collections.Counter()
    for path in chosen:
        results = run_file(path, target, options())
        count = collections.Counter(r["verdict"] for r in results)
        classic = [r for r in results if is_classic(r)]
        passed = sum(r["verdict"] == "pass" for r in classic)
        strict = sum(r["verdict"] == "pass" and r["strict"] is None for r in classic)
        total.update(all=len(results), passed=count["pass"], classic=len(classic), ok=passed)
        total.update(strict=strict)
        print(f"{path.name:28} {count['pass']:5}/{len(results):<5} classic {passed}/{len(classic)}"  # noqa: T201
              f" strict {strict}")  # fmt: skip
        for r in results:
            wanted = is_classic(r) or not given.classic
            if wanted and given.v and r["verdict"] != "pass":
                print(f"  {r['line']}: {r['expr']}\n      {str(r['message'])[:300]}")  # noqa: T201
            elif wanted and given.v > 1 and r["strict"]:
                print(f"  {r['line']}: {r['expr']}\n      strict: {str(r['strict'])[:300]}")  # noqa: T201
    print(dict(total))  # noqa: T201


if __name__ == "__main__":
    main()
