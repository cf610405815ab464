"""Where the compiled kernels are not built yet, the plain-Python ones stand in."""

import importlib
import sys
import types

from tests.languages.promql import oracle

for _name in ("window", "aggregate"):
    try:
        importlib.import_module(f"orrery.kernels.{_name}")
    except ModuleNotFoundError:
        _module = types.ModuleType(f"orrery.kernels.{_name}")
        _module.window_over_steps = oracle.window_over_steps
        _module.aggregate = oracle.aggregate
        _module.pick = oracle.pick
        sys.modules[f"orrery.kernels.{_name}"] = _module
