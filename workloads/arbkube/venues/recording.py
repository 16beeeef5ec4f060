"""Recordings: raw wire traffic with the time each piece was received, read back exactly.

For: writing what `arb record` hears, and reading it, Binance files in the style of hftbacktest's examples and OKX files in the
style of cryptofeed's sample data, all as one stream of events. May not: interpret frames beyond naming venue and instruments.

Our format is gzipped text, one event a line. The first line is the header, a JSON object whose `format` is
`arbkube-recording/1`; then `NS CONNECTION opened URL`, `… received FRAME`, `… sent FRAME`, `… ponged -`, `… fetched SYMBOL
BODY`, `… closed REASON`. Raw line breaks inside a frame (JSON white space) are written as blanks.
"""

from __future__ import annotations

import gzip
import re
import zlib
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import BinaryIO

import msgspec

from arbkube.market.instruments import Fees, Instrument, MarketType
from arbkube.resources.kinds import Channel

FORMAT = "arbkube-recording/1"


class RecordingError(ValueError):
    """A recording that cannot be read; the message names file, line, cause and remedy."""


class EventKind(StrEnum):
    OPENED = "opened"
    RECEIVED = "received"
    SENT = "sent"
    PONGED = "ponged"
    FETCHED = "fetched"
    CLOSED = "closed"


class Event(msgspec.Struct, frozen=True):
    """One thing that happened on a connection. `symbol` is venue-neutral and set for `fetched` only."""

    ns: int
    connection: int
    kind: EventKind
    symbol: str
    data: bytes


class Header(msgspec.Struct, frozen=True, kw_only=True):
    """What a recording says of itself. Foreign formats carry neither rules nor fees (`instruments` None), only `natives`."""

    format: str
    feed: str
    venue: str
    market: MarketType
    natives: tuple[str, ...]
    channels: tuple[Channel, ...] = (Channel.BOOK,)
    depth: int = 20
    connections: tuple[tuple[str, ...], ...] = ()
    """Venue-neutral symbols carried by each connection; empty: one connection carries all."""
    instruments: tuple[Instrument, ...] | None = None
    fees: Fees | None = None


class Recording:
    """One recording file. `header` is read at once, events as they are iterated."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            with _open(path) as file:
                head = [line for _, line in zip(range(400), file, strict=False)]
        except (OSError, EOFError, zlib.error) as error:
            raise RecordingError(f"{path.name}: cannot be read: {error}") from error
        if not head:
            raise RecordingError(f"{path.name}: the file is empty")
        self.header, self._parse = _recognise(path, head)

    def events(self) -> Iterator[Event]:
        """Every event in the file's order. Raises RecordingError at the first line that is not one."""
        number = 0
        try:
            with _open(self.path) as file:
                for line in file:
                    number += 1
                    event = self._parse(line.rstrip(b"\r\n"))
                    if event is not None:
                        yield event
        except (OSError, EOFError, zlib.error) as error:
            raise RecordingError(f"{self.path.name}: line {number + 1}: the file is damaged or cut short: {error}") from error
        except (ValueError, IndexError, msgspec.MsgspecError) as error:
            if isinstance(error, RecordingError):
                raise
            raise RecordingError(f"{self.path.name}: line {number}: not a recorded event: {error}") from error


class Writer:
    """Writes a recording.

    Flush points are whole gzip members' blocks, so that a file cut by a crash reads up to its last flush.
    """

    def __init__(self, path: Path, header: Header) -> None:
        self._file = gzip.GzipFile(path, "wb", compresslevel=6)
        self._file.write(msgspec.json.encode(header) + b"\n")
        self.events = 0

    def write(self, event: Event) -> None:
        self.events += 1
        payload = event.data.replace(b"\r", b" ").replace(b"\n", b" ")
        subject = f"{event.symbol} ".encode() if event.kind is EventKind.FETCHED else b""
        self._file.write(f"{event.ns} {event.connection} {event.kind.value} ".encode() + subject + payload + b"\n")

    def flush(self) -> None:
        self._file.flush(zlib.Z_SYNC_FLUSH)

    def close(self) -> None:
        self._file.close()


def _open(path: Path) -> BinaryIO:
    with path.open("rb") as file:
        gzipped = file.read(2) == b"\x1f\x8b"
    if gzipped:
        return gzip.open(path, "rb")  # type: ignore[return-value]
    return path.open("rb")


class _Parser:
    """One line to one event, or None for a line that is none."""

    def __call__(self, line: bytes) -> Event | None:
        raise NotImplementedError


class _OwnLines(_Parser):
    def __call__(self, line: bytes) -> Event | None:
        if line.startswith(b"{"):
            return None
        ns, connection, kind, rest = line.split(b" ", 3)
        symbol = b""
        if kind == b"fetched":
            symbol, rest = rest.split(b" ", 1)
        return Event(int(ns), int(connection), EventKind(kind.decode()), symbol.decode(), rest)


class _StampedLines(_Parser):
    """`NS FRAME`, with REST snapshots inline: one instrument a file."""

    def __init__(self, symbol: str) -> None:
        self._symbol = symbol
        self._opened = False

    def __call__(self, line: bytes) -> Event | None:
        ns, frame = line.split(b" ", 1)
        if frame.startswith(b'{"lastUpdateId"'):
            return Event(int(ns), 0, EventKind.FETCHED, self._symbol, frame)
        return Event(int(ns), 0, EventKind.RECEIVED, "", frame)


class _FeedLines(_Parser):
    """`URL <-> time`, `URL <- time: frame` (sent), `time: frame` (received); times in seconds."""

    _control = re.compile(rb"^(wss?://\S+) (<->|<-) ([0-9.]+)(?:: (.*))?$")

    def __call__(self, line: bytes) -> Event | None:
        if not line:
            return None
        control = self._control.match(line)
        if control is not None:
            kind = EventKind.OPENED if control[2] == b"<->" else EventKind.SENT
            return Event(_seconds(control[3]), 0, kind, "", control[4] or control[1])
        at, frame = line.split(b": ", 1)
        return Event(_seconds(at), 0, EventKind.RECEIVED, "", frame)


def _seconds(text: bytes) -> int:
    """Seconds with a decimal fraction to nanoseconds, without passing through a float."""
    whole, _, fraction = text.partition(b".")
    return int(whole) * 10**9 + int(fraction[:9].ljust(9, b"0"))


def _recognise(path: Path, head: list[bytes]) -> tuple[Header, _Parser]:
    first = head[0].rstrip()
    if first.startswith(b"{") and b'"arbkube-recording/' in first[:200]:
        try:
            header = msgspec.json.decode(first, type=Header)
        except msgspec.MsgspecError as error:
            raise RecordingError(f"{path.name}: line 1: the header cannot be read: {error}") from error
        if header.format != FORMAT:
            raise RecordingError(f"{path.name}: format {header.format} is not {FORMAT}: use the arb version that wrote it")
        return header, _OwnLines()
    if b" <-> " in first and b"okx.com" in first:
        natives = tuple(
            sorted({m.decode() for line in head for m in re.findall(rb'"channel":"books","instId":"([^"]+)"', line)})
        )
        # The adapter's neutral symbols are spot pairs; the file's futures and inverse contracts have none.
        spot = tuple(native for native in natives if native.count("-") == 1)
        header = Header(format="cryptofeed", feed="okx", venue="okx", market=MarketType.SPOT, natives=spot)
        return header, _FeedLines()
    if re.match(rb"^[0-9]{16,20} \{", first):
        diffs = [line for line in head if b'"depthUpdate"' in line]
        natives = tuple(sorted({m.decode() for line in diffs for m in re.findall(rb'"s":"([A-Z0-9]+)"', line)}))
        if len(natives) == 1:
            perpetual = b'"pu":' in diffs[0]
            market = MarketType.PERPETUAL if perpetual else MarketType.SPOT
            header = Header(
                format="hftbacktest",
                feed="binance-usdm" if perpetual else "binance",
                venue="binance",
                market=market,
                natives=natives,
                channels=(Channel.BOOK, Channel.TICKER),
            )
            return header, _StampedLines(natives[0])
    raise RecordingError(
        f"{path.name}: line 1: not a recording: expected one written by `arb record`, Binance lines `NS FRAME`, or OKX lines "
        "`URL <-> time`"
    )
