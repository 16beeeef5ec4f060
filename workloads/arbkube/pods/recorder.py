"""The recorder pod: what detectors saw and where the books stood, stored for reading.

For: writing sightings and book tops in batches, and deleting old ones. May not: be needed by anything that trades.
"""

from __future__ import annotations

import asyncio
import contextlib
from decimal import Decimal
from functools import partial

import msgspec
import structlog

from arbkube.control.protocol import Health
from arbkube.detection.model import Sighting
from arbkube.market.bus import Message
from arbkube.market.frames import BookFrame, decode
from arbkube.plan.documents import RecordedFeed, RecorderDocument
from arbkube.pods.shell.metrics import recorder_rows
from arbkube.pods.shell.runtime import Pod, PodArguments, Role, in_chunks
from arbkube.storage.database import StorageError
from arbkube.storage.recorder import SqliteRecorderStore, Top

log = structlog.get_logger(__name__)

_WRITE_S = 0.25
_OPEN_RETRY_S = 1.0
_PRUNE_S = 60.0
_SIGHTINGS_KEPT_NS = 7 * 86400 * 10**9
_QUEUE_LIMIT = 50_000
_READ_S = 0.02

_sighting_decoder = msgspec.msgpack.Decoder(Sighting)


async def main(arguments: PodArguments) -> None:
    """Record what the document names until told to stop."""
    recorder = RecorderPod(arguments)
    await recorder.pod.run(recorder.work)


class RecorderPod(Role[RecorderDocument]):
    """The recorder's state; `work` is its life."""

    def __init__(self, arguments: PodArguments) -> None:
        self.pod = Pod(arguments, kind=RecorderDocument, role=self, starting="opening the store")
        self._recorded: dict[str, RecordedFeed] = {}
        self._topics: list[str] = []
        self._books: set[tuple[str, str]] = set()
        self._sightings: list[Sighting] = []
        self._frames: dict[tuple[str, str], BookFrame] = {}
        self._next_top_ns: dict[str, int] = {}
        self._written = 0
        self._lost = 0
        self._unreadable = 0
        self._rows, self._dropped = recorder_rows(self.pod.registry)

    async def apply(self, document: RecorderDocument) -> None:
        """Store what the document names from now on; what was already seen of the rest is still written."""
        self._recorded = document.feeds
        topics = [f"sightings:{strategy}" for strategy in document.strategies]
        self._topics[:] = [*topics, *(f"frames:{feed}" for feed in document.feeds)]
        self._books = {(feed, symbol) for feed, recorded in document.feeds.items() for symbol in recorded.instruments}
        self._frames = {key: frame for key, frame in self._frames.items() if key in self._books}

    def health(self) -> Health:
        return Health(attempts=self._written, errors=self._lost + self._unreadable)

    async def work(self) -> None:
        store = await self._open()
        if store is None:
            return
        try:
            await self.pod.until(self.pod.stopping.wait(), self._read(), self._write(store), self._prune(store))
        finally:
            with contextlib.suppress(StorageError):
                self._flush(store)
            store.close()

    async def _open(self) -> SqliteRecorderStore | None:
        """The store, tried until it opens; None when told to stop first."""
        while not self.pod.stopping.is_set():
            try:
                store = SqliteRecorderStore(self.pod.arguments.state / "recorder.sqlite")
            except StorageError as error:
                self.pod.reasons["start"] = str(error)
                await self.pod.pause(_OPEN_RETRY_S)
            else:
                del self.pod.reasons["start"]
                return store
        return None

    async def _read(self) -> None:
        await self.pod.config.booted.wait()
        async for messages in self.pod.bus.read(self._topics):
            self._take(messages)
            # Nothing here is urgent, and many messages at once cost a fraction of the same one by one.
            await asyncio.sleep(_READ_S)

    def _take(self, messages: list[Message]) -> None:
        for topic, payload in messages:
            try:
                if topic.startswith("sightings:"):
                    self._sightings.append(_sighting_decoder.decode(payload))
                else:
                    for frame in decode(payload).frames:
                        if (frame.feed, frame.symbol) in self._books:
                            self._frames[frame.feed, frame.symbol] = frame
            except (msgspec.MsgspecError, UnicodeDecodeError) as error:
                self._unreadable += 1
                log.warning("unreadable message", topic=topic, error=str(error))
        if len(self._sightings) > _QUEUE_LIMIT:
            excess = len(self._sightings) - _QUEUE_LIMIT
            del self._sightings[:excess]
            self._lost += excess
            self._dropped.inc(excess)

    async def _write(self, store: SqliteRecorderStore) -> None:
        while True:
            await asyncio.sleep(_WRITE_S)
            try:
                self._flush(store)
                self.pod.reasons.pop("store", None)
            except StorageError as error:
                # Kept in memory and tried again: only telemetry, and bounded.
                self.pod.reasons["store"] = str(error)

    def _flush(self, store: SqliteRecorderStore) -> None:
        sightings, tops = self._sightings, self._due_tops()
        if sightings or tops:
            store.record(sightings, tops)
            self._sightings = []
            self._written += len(sightings) + len(tops)
            self._rows.labels("sightings").inc(len(sightings))
            self._rows.labels("tops").inc(len(tops))

    def _due_tops(self) -> list[Top]:
        """The top of every verified book whose feed's interval has passed."""
        now_ns = self.pod.now_ns()
        due = []
        for feed, recorded in self._recorded.items():
            if now_ns >= self._next_top_ns.get(feed, 0):
                self._next_top_ns[feed] = now_ns + recorded.recording.interval.ns
                due.append(feed)
        return [
            Top(
                at_ns=now_ns,
                feed=frame.feed,
                symbol=frame.symbol,
                bid=Decimal(frame.bids[0][0]),
                bid_size=Decimal(frame.bids[0][1]),
                ask=Decimal(frame.asks[0][0]),
                ask_size=Decimal(frame.asks[0][1]),
                recv_ns=frame.recv_ns,
            )
            for frame in self._frames.values()
            if frame.feed in due and frame.bids and frame.asks
        ]

    async def _prune(self, store: SqliteRecorderStore) -> None:
        while True:
            await asyncio.sleep(_PRUNE_S)
            try:
                await in_chunks(partial(store.prune_sightings, self.pod.now_ns() - _SIGHTINGS_KEPT_NS))
                for feed, recorded in self._recorded.items():
                    oldest_ns = self.pod.now_ns() - recorded.recording.retention.ns
                    await in_chunks(partial(store.prune_tops, feed, oldest_ns))
            except StorageError as error:
                log.warning("old rows not deleted", error=str(error))

    def detail(self) -> dict[str, object]:
        """Rows written and lost since the pod began."""
        return {"written": self._written, "lost": self._lost, "waiting": len(self._sightings)}
