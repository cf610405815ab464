"""The log, the second storage primitive: ``contract`` and its backends.

Backends stand here as strings, so that importing the contract imports no client; only ``app``
chooses one and imports it.
"""

BACKENDS = {
    "memory": "orrery.log.memory:MemoryLog",
    "local": "orrery.log.local:LocalLog",
}
