"""The one thread that writes: it takes everything that waits, commits it together, and answers everybody at once.

Operations of one verb become one call of that verb's function, and so a few statements of many rows. A refusal
(a serial that moved, say) concerns its own operation only. When a transaction fails for a reason that may be one
operation's fault, each is tried again alone; when the disk fails, all of them are told so.
"""

from __future__ import annotations

import queue
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import apsw

from reconciler.errors import StoreUnavailable
from reconciler.store.sqlite import sql
from reconciler.store.sqlite.faults import translation
from reconciler.store.sqlite.pace import Pace

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Sequence

    from reconciler.store.sqlite.checkpoint import Checkpointer
    from reconciler.store.sqlite.session import Session

__all__ = ["BATCH_MAX", "Counters", "Operation", "Single", "Verb", "Writer"]

BATCH_MAX: Final = 1_000
"""Operations in one transaction."""


@dataclass(slots=True)
class Counters:
    """What the writer has done since it was started."""

    commits: int = 0
    operations: int = 0
    batch_max: int = 0
    seconds: float = 0.0


class Operation:
    """What somebody waits for: the verb's arguments, then its result or error."""

    __slots__ = ("arguments", "error", "future", "result", "verb")

    def __init__(self, verb: Verb, arguments: tuple[Any, ...], future: asyncio.Future[Any]) -> None:
        self.verb = verb
        self.arguments = arguments
        self.future = future
        self.result: Any = None
        self.error: BaseException | None = None


class Verb:
    """How operations of one kind are done: all that wait at once. Lower `order` comes first in a transaction."""

    __slots__ = ("name", "order", "run")

    def __init__(self, name: str, order: int, run: Callable[[Session, Sequence[Operation]], None]) -> None:
        self.name = name
        self.order = order
        self.run = run


class Single(Verb):
    """A verb whose operations are done one by one, each undone alone if it raises."""

    __slots__ = ()

    def __init__(self, name: str, order: int, run: Callable[..., Any]) -> None:
        def one_by_one(session: Session, operations: Sequence[Operation]) -> None:
            for operation in operations:
                session.flush()
                session.forget_rows()
                session.execute(sql.SAVEPOINT)
                try:
                    operation.result = run(session, *operation.arguments)
                    session.flush()
                except apsw.Error:
                    raise
                except Exception as error:  # noqa: BLE001 - the caller's, `verify` may raise anything
                    session.undo()
                    operation.error = error
                session.execute(sql.RELEASE)

        super().__init__(name, order, one_by_one)


class Writer:
    """Owns the writing connection from `start` to `stop`. `submit` may be called by any event loop."""

    def __init__(
        self, session: Session, checkpointer: Checkpointer, observer: Callable[[int, float], None] | None
    ) -> None:
        self.counters = Counters()
        self._session = session
        self._checkpointer = checkpointer
        self._observer = observer
        self._queue: queue.SimpleQueue[Operation | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="store-writer", daemon=True)
        self._stopping = False
        self._reports: list[tuple[int, float]] = []
        self._pace = Pace()

    @property
    def statements(self) -> int:
        """SQL statements run, transactions' own included."""
        return self._session.statements

    def start(self) -> None:
        """Begin to take operations."""
        self._thread.start()

    def submit(self, operation: Operation) -> None:
        """Have it done; its future is answered on its own loop after the commit."""
        if self._stopping:
            operation.future.set_exception(StoreUnavailable("the store is closed"))
        else:
            self._queue.put(operation)

    def stop(self) -> None:
        """Finish what was submitted and close the connection. Blocks until the thread has ended."""
        if not self._stopping:
            self._stopping = True
            self._queue.put(None)
        self._thread.join()

    def _work(self) -> None:
        running = True
        while running:
            batch = self._gather()
            running = None not in batch
            operations = [operation for operation in batch if operation is not None]
            if operations:
                self._perform(operations)
                self._answer(operations)
                self._checkpointer.step()
        self._checkpointer.close()
        self._session.connection.close()

    def _gather(self) -> list[Operation | None]:
        """Wait for the first operation, then for company; None says that it is to be the last."""
        batch = [self._queue.get()]
        pause_s = self._pace.pause_s(time.monotonic())
        if pause_s and batch[0] is not None and not self._stopping:
            time.sleep(pause_s / 2)
            early = self._queue.qsize()
            time.sleep(pause_s / 2)
            self._pace.waited(pause_s, self._queue.qsize() - early)
        batch += [self._queue.get_nowait() for _ in range(min(self._queue.qsize(), BATCH_MAX - 1))]
        return batch

    def _perform(self, operations: list[Operation]) -> None:
        """Commit the operations together if that can be, else each alone, else tell why not."""
        started = time.monotonic()
        try:
            self._transact(operations)
        except apsw.ConstraintError as error:
            self._retry_alone(operations, ValueError(f"conflicting rows: {error}"))
        except apsw.Error as error:
            fault = translation(error, self._session.path)
            for operation in operations:
                operation.error = fault
        except Exception as error:  # noqa: BLE001 - answered to whoever asked for it
            self._retry_alone(operations, error)
        else:
            self._count(len(operations), started)

    def _retry_alone(self, operations: list[Operation], error: Exception) -> None:
        if len(operations) == 1:
            operations[0].error = error
            return
        for operation in operations:
            operation.error = None
            self._perform([operation])

    def _transact(self, operations: list[Operation]) -> None:
        kinds: dict[Verb, list[Operation]] = {}
        for operation in operations:
            kinds.setdefault(operation.verb, []).append(operation)
        session = self._session
        try:
            session.begin()
            for verb in sorted(kinds, key=lambda verb: verb.order):
                verb.run(session, kinds[verb])
            session.commit()
        except BaseException:
            session.rollback()
            raise

    def _count(self, operations: int, started: float) -> None:
        now = time.monotonic()
        counters = self.counters
        counters.commits += 1
        counters.operations += operations
        counters.batch_max = max(counters.batch_max, operations)
        counters.seconds += now - started
        self._pace.committed(operations, started)
        self._reports.append((operations, now - started))

    def _answer(self, operations: Sequence[Operation]) -> None:
        """Resolve the futures, one call a loop; the first loop's call tells the observer, too."""
        loops: dict[asyncio.AbstractEventLoop, list[Operation]] = {}
        for operation in operations:
            loops.setdefault(operation.future.get_loop(), []).append(operation)
        reports, self._reports = self._reports, []
        for loop, mine in loops.items():
            try:
                loop.call_soon_threadsafe(_resolve, mine)
                if self._observer is not None:
                    for report in reports:
                        loop.call_soon_threadsafe(self._observer, *report)
            except RuntimeError:
                # The loop was closed under its callers: nobody is left to be told.
                continue
            reports = []


def _resolve(operations: Sequence[Operation]) -> None:
    for operation in operations:
        if operation.future.done():
            continue
        if operation.error is not None:
            operation.future.set_exception(operation.error)
        else:
            operation.future.set_result(operation.result)
