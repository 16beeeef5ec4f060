"""Recordings: what is written reads back; what is damaged says where, and nothing else happens."""

from __future__ import annotations

import contextlib
import gzip
from collections.abc import Callable
from decimal import Decimal
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from arbkube.market.instruments import FeeAsset, Fees, Instrument, MarketType
from arbkube.resources.kinds import Channel
from arbkube.venues.recording import FORMAT, Event, EventKind, Header, Recording, RecordingError, Writer

START = 1_700_000_000_000_000_000


def instrument(base: str) -> Instrument:
    return Instrument(
        venue="binance",
        market=MarketType.SPOT,
        symbol=f"{base}-USDT",
        native=f"{base}USDT",
        base=base,
        quote="USDT",
        tick=Decimal("0.01"),
        lot=Decimal("0.00001"),
        min_quantity=Decimal("0.00001"),
        min_notional=Decimal(5),
    )


HEADER = Header(
    format=FORMAT,
    feed="one",
    venue="binance",
    market=MarketType.SPOT,
    natives=("BTCUSDT", "ETHUSDT"),
    channels=(Channel.BOOK, Channel.TICKER),
    depth=50,
    connections=(("BTC-USDT",), ("ETH-USDT",)),
    instruments=(instrument("BTC"), instrument("ETH")),
    fees=Fees(maker=Decimal("0.001"), taker=Decimal("0.002"), charged_in=FeeAsset.RECEIVED, source="spec"),
)

frames = st.binary(max_size=60) | st.text(max_size=40).map(str.encode)
events = st.builds(
    lambda after, connection, kind, symbol, data: (after, Event(0, connection, kind, symbol, data)),
    st.integers(-(10**6), 10**12),
    st.integers(0, 1),
    st.sampled_from(EventKind),
    st.sampled_from(["BTC-USDT", "ETH-USDT"]),
    frames,
)


def timed(steps: list[tuple[int, Event]]) -> list[Event]:
    now, made = START, []
    for after, event in steps:
        now += after
        symbol = event.symbol if event.kind is EventKind.FETCHED else ""
        made.append(msgspec.structs.replace(event, ns=now, symbol=symbol))
    return made


def as_read(event: Event) -> Event:
    return msgspec.structs.replace(event, data=event.data.replace(b"\r", b" ").replace(b"\n", b" "))


def write(path: Path, written: list[Event], header: Header = HEADER) -> Path:
    writer = Writer(path, header)
    for event in written:
        writer.write(event)
    writer.close()
    return path


@given(steps=st.lists(events, max_size=30), flush_after=st.integers(0, 30))
def test_what_is_written_is_read_back(steps: list[tuple[int, Event]], flush_after: int) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "r.gz"
        writer = Writer(path, HEADER)
        written = timed(steps)
        for number, event in enumerate(written):
            writer.write(event)
            if number == flush_after:
                writer.flush()
        writer.close()
        recording = Recording(path)
        assert recording.header == HEADER
        assert list(recording.events()) == [as_read(event) for event in written]
        assert writer.events == len(written)


def test_an_uncompressed_file_reads_the_same(tmp_path: Path) -> None:
    event = Event(START, 0, EventKind.RECEIVED, "", b'{"a": 1}')
    packed = write(tmp_path / "r.gz", [event])
    plain = tmp_path / "r.txt"
    plain.write_bytes(gzip.decompress(packed.read_bytes()))
    assert list(Recording(plain).events()) == [event]


def test_a_file_that_a_crash_cut_short_gives_all_up_to_the_last_flush_and_says_where_it_ends(tmp_path: Path) -> None:
    path = tmp_path / "r.gz"
    writer = Writer(path, HEADER)
    for number in range(50):
        writer.write(Event(START + number, 0, EventKind.RECEIVED, "", b"x" * 30))
    writer.flush()
    cut = tmp_path / "cut.gz"
    cut.write_bytes(path.read_bytes())
    writer.close()
    events = Recording(cut).events()
    assert len(list(islice(events, 50))) == 50
    with pytest.raises(RecordingError, match=r"^cut\.gz: line 52: the file is damaged or cut short"):
        next(events)


def lines(*more: str, header: Header = HEADER) -> bytes:
    return msgspec.json.encode(header) + b"\n" + "".join(f"{line}\n" for line in more).encode()


GOOD = f"{START} 0 received {{}}"


@pytest.mark.parametrize(
    ("more", "line", "cause"),
    [
        (["nonsense"], 2, "expected `NS CONNECTION KIND …`"),
        ([GOOD, ""], 3, "expected `NS CONNECTION KIND …`"),
        ([GOOD, "{}"], 3, "expected"),
        ([GOOD, f"{START} 0 heard x"], 3, "heard"),
        ([GOOD, f"{START} 2 received x"], 3, "connection 2 of 2"),
        ([GOOD, f"{START} -1 received x"], 3, "connection -1 of 2"),
        ([GOOD, "soon 0 received x"], 3, "soon"),
        ([GOOD, f"{START} 0 fetched XRP-USDT {{}}"], 3, "XRP-USDT"),
        ([GOOD, f"{START + 86400 * 10**9} 0 received x"], 3, "a day or more after"),
    ],
)
def test_a_line_that_is_no_event_is_named(tmp_path: Path, more: list[str], line: int, cause: str) -> None:
    path = tmp_path / "bad.txt"
    path.write_bytes(lines(*more))
    recording = Recording(path)
    with pytest.raises(RecordingError, match=rf"^bad\.txt: line {line}: ") as error:
        list(recording.events())
    assert cause in str(error.value)
    assert len(str(error.value).splitlines()) == 1


def changed(**fields: object) -> Callable[[], bytes]:
    return lambda: lines(GOOD, header=msgspec.structs.replace(HEADER, **fields))


TWICE = (instrument("BTC"), instrument("BTC"))
NO_LOT = (instrument("BTC"), msgspec.structs.replace(instrument("ETH"), lot=Decimal(0)))


@pytest.mark.parametrize(
    ("content", "cause"),
    [
        (lambda: b"", "empty"),
        (lambda: b"\x1f\x8b", "cannot be read"),
        (lambda: b"\x1f\x8b" + b"\x00" * 50, "cannot be read"),
        (lambda: gzip.compress(b"hello\n" * 9), "line 1: not a recording"),
        (lambda: bytes(range(256)) * 20, "line 1: not a recording"),
        (lambda: b"\n\n", "line 1: not a recording"),
        (lambda: b'{"format":"arbkube-recording/1"}\n', "line 1: the header cannot be read"),
        (changed(format="arbkube-recording/9"), "use the arb version"),
        (changed(venue="nowhere"), "another venue"),
        (changed(instruments=None), "no instruments"),
        (changed(natives=("BTCUSDT",)), "natives"),
        (changed(natives=("BTCUSDT", "BTCUSDT"), instruments=TWICE), "twice"),
        (changed(connections=(("BTC-USDT",),)), "each instrument once"),
        (changed(instruments=NO_LOT), "ETH-USDT has a lot of 0"),
        (lambda: b"wss://ws.okx.com:8443/ws <-> 1.5\n", "no spot pair"),
        (
            lambda: b"".join(b'1700000000000000000 {"data":{"e":"depthUpdate","s":"%s"}}\n' % s for s in (b"A", b"B")),
            "not a recording",
        ),
    ],
)
def test_a_file_that_is_no_recording_says_so(tmp_path: Path, content: Callable[[], bytes], cause: str) -> None:
    path = tmp_path / "bad"
    path.write_bytes(content())
    with pytest.raises(RecordingError, match=r"^bad: ") as error:
        Recording(path)
    assert cause in str(error.value)


@pytest.mark.parametrize("make", [lambda path: None, lambda path: path.mkdir()])
def test_a_path_that_is_no_file_says_so(tmp_path: Path, make: Callable[[Path], None]) -> None:
    make(tmp_path / "there")
    with pytest.raises(RecordingError, match=r"^there: cannot be read"):
        Recording(tmp_path / "there")


@given(cut=st.floats(0, 1), noise=st.binary(max_size=8))
def test_no_damage_raises_anything_else(cut: float, noise: bytes) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "r"
        whole = write(path, [Event(START + n, n % 2, EventKind.RECEIVED, "", b"%d" % n) for n in range(40)]).read_bytes()
        at = int(len(whole) * cut)
        path.write_bytes(whole[:at] + noise + whole[at + len(noise) * 2 :])
        with contextlib.suppress(RecordingError):
            assert len(list(Recording(path).events())) <= 40


def test_a_full_disk_is_one_clear_error(tmp_path: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("there is no /dev/full here")
    (tmp_path / "r.gz").symlink_to("/dev/full")
    writer = Writer(tmp_path / "r.gz", HEADER)
    writer.write(Event(START, 0, EventKind.RECEIVED, "", b"x" * 1000))
    with pytest.raises(RecordingError, match=r"^r\.gz: cannot be written: No space left"):
        writer.flush()
    with pytest.raises(RecordingError):
        writer.close()


def test_the_shared_recordings_are_recognised(recordings: Path) -> None:
    spot = Recording(recordings / "binance-2024-08-08" / "spot-btcusdt.jsonl.gz")
    assert (spot.header.venue, spot.header.market, spot.header.natives) == ("binance", MarketType.SPOT, ("BTCUSDT",))
    perpetual = Recording(recordings / "binance-2024-08-08" / "usdm-ethusdt.jsonl.gz")
    assert (perpetual.header.market, perpetual.header.natives) == (MarketType.PERPETUAL, ("ETHUSDT",))
    okx = Recording(recordings / "okx" / "books.ws.txt")
    assert (okx.header.venue, okx.header.natives) == ("okx", ("BTC-USDT",))
    for recording in (spot, perpetual, okx):
        times = [event.ns for event in recording.events()]
        assert len(times) > 390
        assert all(10**18 < ns < 2 * 10**18 for ns in times)
