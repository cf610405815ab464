"""Objects, the first storage primitive: ``contract`` and its backends.

Backends stand here as strings, so that importing the contract imports no client; only ``app``
chooses one and imports it.
"""

BACKENDS = {
    "memory": "orrery.objects.memory:MemoryObjects",
    "local": "orrery.objects.local:LocalObjects",
    "cloud": "orrery.objects.cloud:CloudObjects",
}
