"""What an executor holds of halts, and whether it may still believe the control server.

For: the flag in memory that every Open asks (`doubt`, and the driver's own halts), and what an executor owes the server: the
entries that it raised, and after every seeding whatever the new log lacks. May not: decide what a halt means; the driver does.

At every answer, in this order: halts are in force before anything else is said; a new epoch is journaled, then all that this
executor knows is pushed, and only then the server is believed. What it raised itself holds at once and is pushed until it is
there.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence

import structlog

from arbkube.control.freshness import Freshness
from arbkube.control.halts import Entry, Log
from arbkube.control.link import Snapshot
from arbkube.control.protocol import Epoch
from arbkube.execution.driver import Driver, Outcome
from arbkube.pods.shell.config import AWAY

log = structlog.get_logger(__name__)

_RETRY_S = 0.2


class ExecutorGuard:
    """`freshness` is what the driver asks; `append` brings entries to the server, `perform` does what the driver says."""

    def __init__(
        self,
        *,
        append: Callable[[Sequence[Entry]], Awaitable[None]],
        perform: Callable[[Iterable[Outcome]], None],
        now_ns: Callable[[], int],
    ) -> None:
        self.freshness = Freshness()
        self._append = append
        self._perform = perform
        self._now_ns = now_ns
        self._driver: Driver | None = None
        self._before = Log()
        """What was heard before there was a driver to tell it to."""
        self._epoch: Epoch | None = None
        """The one that is believed."""
        self._unsaid: list[Entry] = []
        self._raised = asyncio.Event()

    def attach(self, driver: Driver) -> None:
        """From now on `driver` holds the halts; it has sent nothing yet."""
        self._driver = driver
        self._perform(driver.on_halts(self._before.entries, self._now_ns()))

    def raised(self, entry: Entry) -> None:
        """The driver set or cleared a halt; it is in force and journaled."""
        self._unsaid.append(entry)
        self._raised.set()

    async def run(self) -> None:
        """Bring to the server what was raised here, until cancelled."""
        while True:
            await self._raised.wait()
            unsaid = tuple(self._unsaid)
            try:
                await self._append(unsaid)
            except AWAY:
                await asyncio.sleep(_RETRY_S)
                continue
            del self._unsaid[: len(unsaid)]
            if not self._unsaid:
                self._raised.clear()

    # ---- config.Guard --------------------------------------------------------------------------------------------

    async def hear(self, snapshot: Snapshot) -> None:
        if self._driver is None:
            self._before.add(snapshot.halts)
            return
        self._perform(self._driver.on_halts(snapshot.halts, self._now_ns()))
        epoch = snapshot.epoch
        if epoch is not None and epoch.run_id == snapshot.run_id and epoch != self._epoch:
            epoch = await self._reconcile(self._driver, epoch)
        self._epoch = epoch
        self.freshness.answered(asked_ns=snapshot.asked_ns, run_id=snapshot.run_id, epoch=epoch)

    async def _reconcile(self, driver: Driver, epoch: Epoch) -> Epoch | None:
        """The epoch, once the server that was seeded under it has all that is known here."""
        self._perform(driver.on_epoch(epoch, self._now_ns()))
        try:
            await self._append(driver.entries)
        except AWAY as error:
            log.warning("not reconciled yet", epoch=epoch.number, error=f"{type(error).__name__}: {error}")
            return None
        log.info("control server believed", epoch=epoch.number, entries=len(driver.entries))
        return epoch

    def behind(self, late: bool) -> None:
        self.freshness.behind = late

    def doubt(self) -> str | None:
        return self.freshness.doubt(time.monotonic_ns())

    @property
    def epoch(self) -> Epoch | None:
        """The epoch that was last believed, whether or not the server answers just now."""
        return self._epoch

    @property
    def trusted(self) -> int | None:
        return self._epoch.number if self._epoch is not None and self.doubt() is None else None

    @property
    def active(self) -> tuple[str, ...]:
        halts = self._before.active() if self._driver is None else self._driver.halts
        return tuple(halt.id for halt in halts)
