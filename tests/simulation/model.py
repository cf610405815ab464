"""What a store must answer, in plain Python: the oracle of the simulation.

A state is a dict of (tenant, series, time) to what a sample says: the bits of its value and its
side columns. Operations stand in the order of their calls, which is the order of the log.
"""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Write:
    tenant: str
    rows: tuple[tuple[str, int, tuple[int, tuple[int, int, int]]], ...]
    durable: bool = True

    def apply(self, state):
        return state | {(self.tenant, name, time): value for name, time, value in self.rows}


@dataclass(frozen=True)
class Delete:
    tenant: str
    name: str
    min_ns: int
    max_ns: int
    durable: bool = True

    def apply(self, state):
        def is_gone(key):
            tenant, name, time = key
            return (tenant, name) == (self.tenant, self.name) and (
                self.min_ns <= time <= self.max_ns
            )

        return {key: bits for key, bits in state.items() if not is_gone(key)}


@dataclass
class Model:
    """One history that may be the true one: ``state`` is what reads show.

    A power cut may take back what was acknowledged from memory, down to ``firm``, but only from
    the end; a crash may bring what was never acknowledged, ``open``, but only from its beginning:
    each operation whole or not at all.
    """

    state: dict = field(default_factory=dict)
    firm: dict = field(default_factory=dict)
    soft: list = field(default_factory=list)
    open: list = field(default_factory=list)

    def acknowledged(self, operation):
        self.state = operation.apply(self.state)
        # The log that took this one had let go of what failed before it.
        self.open.clear()
        if operation.durable:
            self.settled()
        else:
            self.soft.append(operation)

    def settled(self):
        """All that was acknowledged is on the disk."""
        self.firm = self.state
        self.soft.clear()

    def failed(self, operation):
        """Without an acknowledgement; it may be there after a crash."""
        self.open.append(operation)

    def forgotten(self):
        """The log has cut off what failed."""
        self.open.clear()

    def drop(self, min_ns, max_ns, found):
        """What a block held was let go of; False where a deleted sample came to light."""
        inside = {key: bits for key, bits in found.items() if min_ns <= key[2] <= max_ns}
        if not inside.keys() <= self.state.keys():
            return False
        outside = {key: bits for key, bits in self.state.items() if not min_ns <= key[2] <= max_ns}
        self.state = self.firm = outside | inside
        self.soft.clear()
        return True

    def after(self, *, power_cut):
        """Every state in which a store may come up."""
        states = [self.state]
        if power_cut:
            states = [self.firm]
            for operation in self.soft:
                states.append(operation.apply(states[-1]))
        for operation in self.open:
            states.append(operation.apply(states[-1]))
        return states


def visible(state, cuts_ns):
    """Without what tenants keep no longer."""
    return {key: bits for key, bits in state.items() if key[2] >= cuts_ns.get(key[0], -(2**63))}


def difference(found, expected):
    """For a person: the first few keys that differ."""
    keys = sorted(key for key in {*found, *expected} if found.get(key) != expected.get(key))
    shown = [f"{key}: found {found.get(key)}, expected {expected.get(key)}" for key in keys[:6]]
    return "; ".join([f"{len(keys)} samples differ", *shown])
