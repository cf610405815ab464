"""Side columns: what a sample may have beside its value (decision 0081).

Wires put them into batches, ``Selection.columns`` gives them back. A start time is in nanoseconds,
an elevation in millimetres, a position a 64-bit HHCode as in Warp 10.
"""

from orrery import _core

NO_START_TIME: int = _core.NO_START_TIME
NO_POSITION: int = _core.NO_POSITION
NO_ELEVATION: int = _core.NO_ELEVATION
