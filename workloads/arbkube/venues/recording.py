"""Recordings: raw wire traffic with the time each piece was received, read back exactly.

For: writing what `arb record` hears, and reading it, Binance files in the style of hftbacktest's examples and OKX files in the
style of cryptofeed's sample data, all as one stream of events. May not: interpret frames beyond naming venue and instruments.

Our format is gzipped text, one event a line. The first line is the header, a JSON object whose `format` is
`arbkube-recording/1`; then `NS CONNECTION opened URL`, `… received FRAME`, `… sent FRAME`, `… ponged -`, `… fetched SYMBOL
BODY`, `… closed REASON`. Raw line breaks inside a frame (JSON white space) are written as blanks. Times may step back a little,
as clocks do; a step ahead of a day or more is taken for damage.
"""

from __future__ import annotations

import contextlib
import gzip
import re
import zlib
from collections.abc import Iterator, Sequence
from enum import StrEnum
from itertools import islice
from pathlib import Path
from typing import BinaryIO, Protocol

import msgspec

from arbkube.market.instruments import Fees, Instrument, MarketType
from arbkube.resources.kinds import Channel
from arbkube.venues.catalog import markets

FORMAT = "arbkube-recording/1"

LONGEST_GAP_NS = 86400 * 10**9
_HEAD_LINES = 400
"""Lines by which a foreign recording is recognised."""
_UNREADABLE = (OSError, EOFError, zlib.error)


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
        head: list[bytes] = []
        try:
            with _open(path) as file:
                head.extend(islice(file, _HEAD_LINES))
        except _UNREADABLE as error:
            # What ends early is told when it is read, with its line.
            if not head:
                raise RecordingError(f"{path.name}: cannot be read: {error}") from error
        if not head:
            raise RecordingError(f"{path.name}: the file is empty")
        self.header, self._parse = _recognise(path, head)

    def events(self) -> Iterator[Event]:
        """Every event in the file's order. Raises RecordingError at the first line that is not one."""
        name = self.path.name
        number = 0
        latest_ns = None
        try:
            with _open(self.path) as file:
                for number, line in enumerate(file, start=1):
                    event = self._parse(number, line.rstrip(b"\r\n"))
                    if event is None:
                        continue
                    if latest_ns is not None and event.ns - latest_ns >= LONGEST_GAP_NS:
                        raise ValueError("its time is a day or more after that of the line before")
                    latest_ns = event.ns
                    yield event
        except _UNREADABLE as error:
            raise RecordingError(f"{name}: line {number + 1}: the file is damaged or cut short: {error}") from error
        except ValueError as error:
            raise RecordingError(f"{name}: line {number}: not a recorded event: {error}") from error


class Writer:
    """Writes a recording. What cannot be written raises RecordingError.

    A flush ends a block of the compression, so that of a file cut by a crash everything up to the last one can be recovered.
    """

    def __init__(self, path: Path, header: Header) -> None:
        self._path = path
        self.events = 0
        with self._explained():
            self._file = gzip.GzipFile(path, "wb", compresslevel=6)
            self._file.write(msgspec.json.encode(header) + b"\n")

    def write(self, event: Event) -> None:
        self.events += 1
        payload = event.data.replace(b"\r", b" ").replace(b"\n", b" ")
        subject = f"{event.symbol} ".encode() if event.kind is EventKind.FETCHED else b""
        with self._explained():
            self._file.write(f"{event.ns} {event.connection} {event.kind.value} ".encode() + subject + payload + b"\n")

    def flush(self) -> None:
        with self._explained():
            self._file.flush(zlib.Z_SYNC_FLUSH)

    def close(self) -> None:
        with self._explained():
            self._file.close()

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise RecordingError(f"{self._path.name}: cannot be written: {error.strerror}") from error


def _open(path: Path) -> BinaryIO:
    with path.open("rb") as file:
        gzipped = file.read(2) == b"\x1f\x8b"
    if gzipped:
        return gzip.open(path, "rb")  # type: ignore[return-value]
    return path.open("rb")


class _Parser(Protocol):
    """One line to one event, or None for a line that is none. Raises ValueError saying what is wrong."""

    def __call__(self, number: int, line: bytes) -> Event | None: ...


class _OwnLines:
    def __init__(self, header: Header) -> None:
        self._connections = max(1, len(header.connections))
        self._symbols = {instrument.symbol for instrument in header.instruments or ()}

    def __call__(self, number: int, line: bytes) -> Event | None:
        if number == 1:
            return None
        match line.split(b" ", 3):
            case [ns, connection, kind, rest]:
                event = Event(int(ns), int(connection), EventKind(kind.decode()), "", rest)
            case _:
                raise ValueError("expected `NS CONNECTION KIND …`")
        if not 0 <= event.connection < self._connections:
            raise ValueError(f"connection {event.connection} of {self._connections}")
        if event.kind is not EventKind.FETCHED:
            return event
        symbol, _, body = rest.partition(b" ")
        if symbol.decode() not in self._symbols:
            raise ValueError(f"a snapshot of {symbol.decode()!r}, which the header does not name")
        return Event(event.ns, event.connection, event.kind, symbol.decode(), body)


class _StampedLines:
    """`NS FRAME`, with REST snapshots inline: one instrument a file."""

    def __init__(self, native: str) -> None:
        self._native = native

    def __call__(self, number: int, line: bytes) -> Event | None:
        ns, blank, frame = line.partition(b" ")
        if not blank:
            raise ValueError("expected `NS FRAME`")
        if frame.startswith(b'{"lastUpdateId"'):
            return Event(int(ns), 0, EventKind.FETCHED, self._native, frame)
        return Event(int(ns), 0, EventKind.RECEIVED, "", frame)


class _FeedLines:
    """`URL <-> time`, `URL <- time: frame` (sent), `time: frame` (received); times in seconds."""

    _control = re.compile(rb"^(wss?://\S+) (<->|<-) ([0-9.]+)(?:: (.*))?$")

    def __call__(self, number: int, line: bytes) -> Event | None:
        if not line:
            return None
        control = self._control.match(line)
        if control is not None:
            kind = EventKind.OPENED if control[2] == b"<->" else EventKind.SENT
            return Event(_seconds(control[3]), 0, kind, "", control[4] or control[1])
        at, colon, frame = line.partition(b": ")
        if not colon:
            raise ValueError("expected `TIME: FRAME`, `URL <- TIME: FRAME` or `URL <-> TIME`")
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
        return header, _OwnLines(_checked(path, header))
    if b" <-> " in first and b"okx.com" in first:
        natives = tuple(
            sorted({m.decode() for line in head for m in re.findall(rb'"channel":"books","instId":"([A-Z0-9-]+)"', line)})
        )
        # The adapter's neutral symbols are spot pairs; the file's futures and inverse contracts have none.
        spot = tuple(native for native in natives if native.count("-") == 1)
        if not spot:
            raise RecordingError(f"{path.name}: no spot pair's books among its first {_HEAD_LINES} lines")
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
        "`URL <-> time`, of one instrument's book each"
    )


def _checked(path: Path, header: Header) -> Header:
    """The header of our own format, if it makes sense by itself."""
    problem = ""
    if not header.instruments:
        problem = "it names no instruments"
    elif len({i.symbol for i in header.instruments}) != len(header.instruments):
        problem = "an instrument is named twice"
    elif header.natives != tuple(i.native for i in header.instruments):
        problem = "its natives are not those of its instruments"
    elif any((i.venue, i.market) != (header.venue, header.market) for i in header.instruments):
        problem = "an instrument is of another venue or market"
    elif unusable := unusable_rules(header.instruments):
        problem = unusable
    elif header.market not in markets(header.venue):
        problem = f"no adapter for {header.venue} {header.market.value}"
    elif header.connections and sorted(s for group in header.connections for s in group) != sorted(
        i.symbol for i in header.instruments
    ):
        problem = "its connections do not carry each instrument once"
    if problem:
        raise RecordingError(f"{path.name}: line 1: the header makes no sense: {problem}")
    return header


def unusable_rules(instruments: Sequence[Instrument]) -> str:
    """Which instrument has rules that no order can be made by, and why; empty when all are sound."""
    for i in instruments:
        figures = {"tick": i.tick, "lot": i.lot, "contract_size": i.contract_size}
        for name, figure in figures.items():
            if not (figure.is_finite() and figure > 0):
                return f"{i.symbol} has a {name} of {figure}"
        for name, figure in {"min_quantity": i.min_quantity, "min_notional": i.min_notional}.items():
            if not (figure.is_finite() and figure >= 0):
                return f"{i.symbol} has a {name} of {figure}"
    return ""
