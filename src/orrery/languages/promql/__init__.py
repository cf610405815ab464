"""PromQL as Prometheus 3 speaks it; no I/O and no tenant here.

``parse.parse`` reads a query, ``print.pretty`` writes it back, ``evaluate.evaluate`` answers it as
a generator of effects that ``query/run`` drives.
"""
