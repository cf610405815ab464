"""Long work on the store that an operator asks for, told step by step; built by ``app``."""

import asyncio
import queue
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

from orrery.errors import OrreryError
from orrery.store.engine import Store
from orrery.store.pins import Pinned
from orrery.store.quarantine import Book, Held

Row = dict[str, object]


class StoreMaintenance:
    """For the admin API: the work runs on a thread of its own, its steps are awaited."""

    def __init__(self, *, store: Store) -> None:
        self._store = store

    async def compact(self) -> AsyncIterator[Row]:
        loop = asyncio.get_running_loop()
        steps: asyncio.Queue[Row | None] = asyncio.Queue()

        def tell(row: Row | None) -> None:
            loop.call_soon_threadsafe(steps.put_nowait, row)

        def work() -> None:
            try:
                compact(self._store, tell)
            except OrreryError as error:
                tell({"event": "failed", "error": str(error)})
            finally:
                tell(None)

        threading.Thread(target=work, name="compaction-by-hand", daemon=True).start()
        while (row := await steps.get()) is not None:
            yield row

    def quarantine(self) -> Book:
        return self._store.quarantine()

    def release_block(self, name: str) -> Held:
        return self._store.release_block(name)

    def drop_block(self, name: str) -> Held:
        return self._store.drop_block(name)

    def pin(self) -> Pinned:
        return self._store.pin()

    def renew_pin(self, pin_id: str, *, log: bool) -> None:
        self._store.renew_pin(pin_id, log=log)

    def release_pin(self, pin_id: str) -> None:
        self._store.release_pin(pin_id)


def compact(store: Store, tell: Callable[[Row], None]) -> None:
    """Flushes, then compacts everything that is due; deletes become physical."""
    store.flush()
    tell({"event": "flushed"})

    def rewritten(reason: str, done_bytes: int, left_bytes: int) -> None:
        tell(
            {
                "event": "rewritten",
                "reason": reason,
                "done_bytes": done_bytes,
                "left_bytes": left_bytes,
            }
        )

    count = store.compact(rewritten)
    blocks = store.blocks()
    tell(
        {
            "event": "compacted",
            "rewrites": count,
            "blocks": len(blocks),
            "bytes": sum(block.byte_count for block in blocks),
            "samples": sum(block.sample_count for block in blocks),
        }
    )


def compacting(store: Store) -> Iterator[Row]:
    """The same for the command line: a row as soon as it is known."""
    rows: queue.SimpleQueue[Row | None] = queue.SimpleQueue()
    with ThreadPoolExecutor(1, thread_name_prefix="compaction-by-hand") as executor:
        work = executor.submit(compact, store, rows.put)
        work.add_done_callback(lambda _: rows.put(None))
        while (row := rows.get()) is not None:
            yield row
        work.result()
