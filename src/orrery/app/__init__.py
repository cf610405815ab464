"""The composition root: the only part that constructs, and the only one that knows all."""

from orrery.app.engine import Engine, open_engine
from orrery.app.serving import serve
from orrery.app.wires import build_administration

__all__ = ["Engine", "build_administration", "open_engine", "serve"]
