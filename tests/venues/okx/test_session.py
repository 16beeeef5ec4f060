from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arbkube.market.instruments import Instrument
from arbkube.market.verified import VerifiedBook, WithheldReason
from arbkube.resources.kinds import Channel, Proof
from arbkube.venues.okx.adapter import PerpetualAdapter, SpotAdapter
from arbkube.venues.okx.session import OkxSession
from arbkube.venues.recording import EventKind, Recording
from arbkube.venues.session import SECOND, Reconnect, Send, SessionOptions
from tests.venues.campaign.okx import SPOT, SWAP, OkxMarket, instrument
from tests.venues.campaign.window import Levels
from tests.venues.okx import documented

NOW = 1_790_000_000 * SECOND


def opened(
    *instruments: Instrument, require: frozenset[Proof] = frozenset(), channels: frozenset[Channel] = frozenset({Channel.BOOK})
) -> OkxSession:
    options = SessionOptions(endpoint=SpotAdapter.endpoint, depth=400, require=require, channels=channels)
    session = SpotAdapter().session(instruments or (SPOT,), options, Random(1))
    session.opened(NOW)
    return session


def sent(session: OkxSession) -> list[dict[str, object]]:
    return [json.loads(action.text) for action in session.take_actions() if isinstance(action, Send)]


def shown(book: VerifiedBook, depth: int = 400) -> tuple[Levels, Levels]:
    bids, asks, _ = book.levels(depth)
    return bids, asks


def update(previous: int | None, number: int | None, bids: list[list[str]] | None = None, *, action: str = "update") -> bytes:
    data: dict[str, object] = {"bids": bids or [], "asks": [], "ts": "1790000000000", "checksum": 0}
    if previous is not None:
        data["prevSeqId"] = previous
    if number is not None:
        data["seqId"] = number
    return json.dumps({"arg": {"channel": "books", "instId": "BTC-USDT"}, "action": action, "data": [data]}).encode()


def snapshot(number: int | None) -> bytes:
    return update(None if number is None else -1, number, [["100", "1", "0", "1"], ["99", "2", "0", "1"]], action="snapshot")


# The recording


def test_every_checksum_of_the_recording_matches(recordings: Path) -> None:
    """Also of the futures and the inverse swap, which the adapter does not offer: as books they are like any other."""
    natives = {"BTC-USDT": "BTC-USDT", "BTC-USD-220527": "BTC-FUT", "UNI-USD-SWAP": "UNI-USD"}
    session = opened(*(instrument(symbol, native) for native, symbol in natives.items()))
    for event in Recording(recordings / "okx" / "books.ws.txt").events():
        if event.kind is EventKind.RECEIVED:
            session.received(event.data, event.ns)
            assert not [action for action in session.take_actions() if isinstance(action, Reconnect)]
    counts = [book.counts for book in session.books.values()]
    assert sum(c.checksums_matched for c in counts) == 290
    assert sum(c.checksums_mismatched + c.gaps + c.malformed + c.crossed for c in counts) == 0
    for book in session.books.values():
        assert book.withheld is None
        bids, asks, truncated = book.levels(400)
        assert (len(bids), len(asks), truncated) == (25, 25, True), "a checksum speaks for 25 levels"


@pytest.mark.parametrize("victim", [b'"checksum":1361161687', b'["5.138","26","0","2"]'])
def test_a_byte_changed_in_the_recording_is_noticed(recordings: Path, victim: bytes) -> None:
    session = opened(instrument("UNI-USD", "UNI-USD-SWAP"))
    withheld = []
    for event in Recording(recordings / "okx" / "books.ws.txt").events():
        if event.kind is EventKind.RECEIVED:
            session.received(event.data.replace(victim, victim.replace(b"6", b"7", 1)), event.ns)
            withheld.append(session.books["UNI-USD"].withheld)
    assert WithheldReason.CHECKSUM in withheld
    assert session.books["UNI-USD"].counts.checksums_mismatched == 1


# Documented and captured frames


def test_documented_frames_verify_by_their_chain_with_a_checksum_of_zero() -> None:
    session = opened()
    for frame in (documented.SUBSCRIBED, documented.SNAPSHOT, documented.UPDATE):
        session.received(frame, NOW)
    book = session.books["BTC-USDT"]
    assert (book.withheld, book.counts.updates, book.counts.checksums_matched) == (None, 2, 0)
    assert book.top() == (("8476.97", "256"), ("8476.98", "415"))
    assert book.venue_ns == 1597026383085 * 10**6
    assert len(shown(book)[0]) == 8


def test_captured_frames_verify() -> None:
    session = opened(instrument("SOL-USDT", "SOL-USDT"))
    for frame in documented.CAPTURED:
        session.received(frame, NOW)
    book = session.books["SOL-USDT"]
    assert book.withheld is None
    assert shown(book) == ((("120.65", "46.716665"),), (("120.67", "60.475897"), ("120.68", "83.806786")))


def test_documented_sequence_with_heartbeat_and_reset_is_whole() -> None:
    session = opened()
    book = session.books["BTC-USDT"]
    session.received(snapshot(10), NOW)
    for number, (previous, following) in enumerate(documented.SEQUENCE[1:]):
        session.received(update(previous, following, [["98", str(number + 1), "0", "1"]] if previous != following else []), NOW)
        assert book.withheld is None
    assert (book.counts.gaps, book.counts.updates) == (0, 5)
    assert shown(book)[0][-1] == ("98", "4")


# Proofs


def test_with_neither_proof_the_book_is_withheld() -> None:
    session = opened()
    book = session.books["BTC-USDT"]
    session.received(snapshot(None), NOW)
    assert book.withheld is WithheldReason.NO_PROOF
    session.received(update(None, None, [["100", "3", "0", "1"]]), NOW)
    assert book.withheld is WithheldReason.NO_PROOF
    assert book.frame(feed="f", epoch=1, depth=5).bids == ()


def test_an_update_that_names_no_predecessor_ends_the_chain_until_the_next_snapshot() -> None:
    session = opened()
    book = session.books["BTC-USDT"]
    for frame in (snapshot(1), update(None, 2), update(2, 3)):
        session.received(frame, NOW)
    assert book.withheld is WithheldReason.NO_PROOF
    session.tick(NOW + SECOND)
    assert [request["op"] for request in sent_json(session)][-2:] == ["unsubscribe", "subscribe"]
    session.received(snapshot(9), NOW)
    assert book.withheld is None


@pytest.mark.parametrize(
    ("require", "legacy", "verified"),
    [
        (Proof.CHAIN, False, True),
        (Proof.CHAIN, True, False),
        (Proof.CHECKSUM, True, True),
        (Proof.CHECKSUM, False, False),
    ],
)
def test_a_required_proof_is_the_one_that_counts(require: Proof, legacy: bool, verified: bool) -> None:
    session = opened(require=frozenset({require}))
    market = OkxMarket(Random(3), "BTC-USDT", depth=30, legacy=legacy)
    for frame in (market.snapshot(), market.update()):
        session.received(frame, NOW)
    assert session.books["BTC-USDT"].withheld is (None if verified else WithheldReason.NO_PROOF)


# Valid sequences


@settings(max_examples=40)
@given(seed=st.integers(0, 2**32), legacy=st.booleans(), contracts=st.booleans())
def test_the_book_equals_the_oracle_after_every_frame(seed: int, legacy: bool, contracts: bool) -> None:
    traded = SWAP if contracts else SPOT
    session = opened(traded)
    book = session.books[traded.symbol]
    market = OkxMarket(Random(seed), traded.native, depth=40, legacy=legacy)
    covered = 25 if legacy else 400

    def oracle(levels: Levels) -> list[tuple[Decimal, Decimal]]:
        return [(Decimal(price), Decimal(size) * traded.contract_size) for price, size in levels[:covered]]

    session.received(market.snapshot(), NOW)
    for _ in range(30):
        bids, asks = shown(book)
        assert book.withheld is None
        assert [(Decimal(p), Decimal(s)) for p, s in bids] == oracle(market.bids)
        assert [(Decimal(p), Decimal(s)) for p, s in asks] == oracle(market.asks)
        session.received(market.update(), NOW)
    assert len(session.take_actions()) == 1


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ("1", "0.01"),
        ("0.01", "0.0001"),
        ("0.10", "0.0010"),
        ("3e-9", "0.00000000003"),
        ("123456789012345678901234567890.123456789", "1234567890123456789012345678.90123456789"),
    ],
)
def test_contracts_become_base_units_exactly(size: str, expected: str) -> None:
    session = opened(SWAP)
    frame = update(-1, 1, [["100", size, "0", "1"]], action="snapshot").replace(b'"BTC-USDT"', b'"BTC-USDT-SWAP"')
    session.received(frame, NOW)
    ((price, base),) = shown(session.books["BTC-USDT-PERP"])[0]
    assert (price, Decimal(base).as_tuple()) == ("100", Decimal(expected).as_tuple())


# Breaks


@settings(max_examples=30)
@given(seed=st.integers(0, 2**32), cut=st.integers(1, 8), legacy=st.booleans())
def test_a_missing_update_is_noticed_or_did_not_matter(seed: int, cut: int, legacy: bool) -> None:
    session = opened()
    book = session.books["BTC-USDT"]
    market = OkxMarket(Random(seed), "BTC-USDT", depth=40, legacy=legacy)
    session.received(market.snapshot(), NOW)
    for step in range(10):
        frame = market.update()
        if step != cut:
            session.received(frame, NOW)
        if step > cut and book.withheld is None:
            depth = 25 if legacy else 400
            assert shown(book) == (market.bids[:depth], market.asks[:depth])


def test_a_gap_withholds_resubscribes_and_ignores_what_was_on_its_way() -> None:
    session = opened(SPOT, SWAP)
    book = session.books["BTC-USDT"]
    session.received(snapshot(10), NOW)
    session.take_actions()
    session.received(update(11, 12), NOW)
    assert book.counts.gaps == 1
    assert book.withheld is WithheldReason.GAP
    session.received(update(12, 13), NOW)
    session.tick(NOW + SECOND)
    books = [{"channel": "books", "instId": "BTC-USDT"}]
    requests = [request for request in sent_json(session) if "op" in request]
    assert requests == [{"op": "unsubscribe", "args": books}, {"op": "subscribe", "args": books}]
    session.received(update(13, 14), NOW + SECOND)
    assert book.withheld is WithheldReason.GAP
    session.received(snapshot(20), NOW + SECOND)
    session.received(update(20, 21), NOW + SECOND)
    assert book.counts.resyncs == 1
    assert book.withheld is None
    session.tick(NOW + 60 * SECOND)
    assert not [request for request in sent_json(session) if "op" in request]


def sent_json(session: OkxSession) -> list[dict[str, object]]:
    texts = [action.text for action in session.take_actions() if isinstance(action, Send)]
    return [json.loads(text) for text in texts if text != "ping"]


def test_a_doubled_update_is_dropped_and_an_older_one_is_a_gap() -> None:
    session = opened()
    book = session.books["BTC-USDT"]
    for frame in (snapshot(10), update(10, 11), update(10, 11)):
        session.received(frame, NOW)
    assert (book.withheld, book.counts.duplicates) == (None, 1)
    for frame in (update(11, 12), update(10, 11)):
        session.received(frame, NOW)
    assert book.withheld is WithheldReason.GAP


def test_an_old_snapshot_is_not_built_on_but_the_next_one_is() -> None:
    session = opened()
    book = session.books["BTC-USDT"]
    for frame in (snapshot(10), update(10, 20), snapshot(10)):
        session.received(frame, NOW)
    assert book.withheld is WithheldReason.GAP
    session.received(snapshot(10), NOW)
    assert book.withheld is None


def test_a_snapshot_that_never_comes_is_asked_for_again() -> None:
    session = opened()
    session.take_actions()
    session.received(b"pong", NOW + session.snapshot_limit_ns)
    session.tick(NOW + session.snapshot_limit_ns)
    assert [request["op"] for request in sent_json(session)] == ["unsubscribe", "subscribe"]


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        b"{",
        b"{}",
        b"[]",
        documented.UPDATE[:-40],
        documented.UPDATE.replace(b"8477.34", b"nan"),
        documented.UPDATE.replace(b'"100"', b'"-1"'),
        documented.UPDATE.replace(b'["8446","95","0","3"]', b'["8446"]'),
        documented.UPDATE.replace(b'"update"', b'"other"'),
        documented.UPDATE.replace(b"123457", b'"x"'),
        b"[" * 100_000,
    ],
)
def test_what_cannot_be_read_withholds(frame: bytes) -> None:
    session = opened()
    book = session.books["BTC-USDT"]
    session.received(documented.SNAPSHOT, NOW)
    session.received(frame, NOW)
    assert book.withheld is WithheldReason.MALFORMED
    session.tick(NOW + SECOND)
    session.received(documented.SNAPSHOT.replace(b"123456", b"123460"), NOW)
    assert book.withheld is None


def test_an_unreadable_frame_of_something_else_does_not_break_the_chain() -> None:
    session = opened()
    for frame in (snapshot(1), b"?", update(1, 2)):
        session.received(frame, NOW)
    assert session.books["BTC-USDT"].withheld is None
    session.take_actions()
    session.tick(NOW + SECOND)
    assert not sent_json(session)


def test_other_channels_and_instruments_are_passed_over() -> None:
    session = opened()
    session.received(snapshot(1), NOW)
    session.received(b'{"arg":{"channel":"trades","instId":"BTC-USDT"},"data":[{"px":"1"}]}', NOW)
    session.received(documented.SNAPSHOT.replace(b"BTC-USDT", b"XXX-USDT"), NOW)
    assert session.books["BTC-USDT"].counts.messages == 1
    assert session.books["BTC-USDT"].withheld is None


# The connection


def test_subscriptions_pings_and_pongs() -> None:
    session = opened(SPOT, channels=frozenset({Channel.BOOK, Channel.TICKER}))
    assert session.url == "wss://ws.okx.com:8443/ws/v5/public"
    arguments = [{"channel": "bbo-tbt", "instId": "BTC-USDT"}, {"channel": "books", "instId": "BTC-USDT"}]
    assert sent(session) == [{"op": "subscribe", "args": arguments}]
    session.tick(NOW + SECOND)
    assert session.take_actions() == [Send("ping")]
    session.received(b"pong", NOW + 2 * SECOND)
    assert session.alive_ns == NOW + 2 * SECOND
    assert session.books["BTC-USDT"].counts.malformed == 0


def test_many_symbols_are_subscribed_in_several_messages() -> None:
    session = opened(*(instrument(f"A{n}-USDT", f"A{n}-USDT") for n in range(120)))
    assert [len(message["args"]) for message in sent(session)] == [50, 50, 20]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "frame",
    [
        documented.REFUSED,
        b'{"event":"notice","code":"64008","msg":"The connection will soon be closed for a service upgrade. Please reconnect.",'
        b'"connId":"a4d3ae55"}',
    ],
)
def test_a_refusal_or_an_announced_end_asks_for_a_new_connection(frame: bytes) -> None:
    session = opened()
    session.take_actions()
    session.received(frame, NOW)
    (action,) = session.take_actions()
    assert isinstance(action, Reconnect)


def test_a_reconnect_starts_from_an_empty_book() -> None:
    session = opened()
    book = session.books["BTC-USDT"]
    session.received(snapshot(10), NOW)
    session.closed(NOW)
    assert (book.withheld, book.book.sizes()) == (WithheldReason.DISCONNECTED, (0, 0))
    session.opened(NOW)
    session.received(update(10, 11), NOW)
    assert book.withheld is WithheldReason.NO_SNAPSHOT
    session.received(snapshot(5), NOW)
    assert book.withheld is None


# The venue's own top


def test_tops_of_the_very_id_are_checked() -> None:
    session = opened(channels=frozenset({Channel.BOOK, Channel.TICKER}))
    book = session.books["BTC-USDT"]
    market = OkxMarket(Random(5), "BTC-USDT", depth=30)
    session.received(market.snapshot(), NOW)
    for _ in range(20):
        frame = market.update()
        session.received(market.top(), NOW)
        session.received(frame, NOW)
        assert book.withheld is None
    assert book.counts.tops_checked >= 15
    assert book.counts.tops_mismatched == 0
    frame = market.update()
    session.received(market.top().replace(market.bids[0][1].encode(), b"77777"), NOW)
    session.received(frame, NOW)
    assert (book.withheld, book.counts.tops_mismatched) == (WithheldReason.TOP_MISMATCH, 1)


def test_the_documented_top_speaks_for_the_book_of_its_id() -> None:
    session = opened(instrument("BCH-USDT-PERP", "BCH-USDT-SWAP", "0.1"), channels=frozenset({Channel.BOOK, Channel.TICKER}))
    book = session.books["BCH-USDT-PERP"]
    session.received(documented.TOP, NOW)
    frame = json.loads(documented.TOP)
    frame["arg"]["channel"], frame["action"] = "books", "snapshot"
    frame["data"][0] |= {"checksum": 0, "prevSeqId": -1}
    session.received(json.dumps(frame).encode(), NOW)
    session.received(documented.TOP, NOW)
    frame["action"] = "update"
    frame["data"][0] |= {"asks": [], "bids": [], "prevSeqId": 363996337}
    session.received(json.dumps(frame).encode(), NOW)
    assert (book.withheld, book.counts.tops_checked) == (None, 1)
    assert book.top() == (("111.05", "5774.5"), ("111.06", "5515.4"))


# Rules and REST


def test_documented_spot_rules() -> None:
    adapter = SpotAdapter()
    assert adapter.instrument_urls(["BTC-USDT"], adapter.endpoint) == [
        "https://www.okx.com/api/v5/public/instruments?instType=SPOT"
    ]
    (btc,) = adapter.parse_instruments([documented.SPOT_INSTRUMENTS], ["BTC-USDT"])
    assert (btc.native, btc.base, btc.quote) == ("BTC-USDT", "BTC", "USDT")
    assert (btc.tick, btc.lot, btc.min_quantity) == (Decimal("0.1"), Decimal("0.00000001"), Decimal("0.00001"))
    assert (btc.contract_size, btc.tradable) == (Decimal(1), True)


def test_perpetual_rules_are_in_base_units() -> None:
    btc, pepe = PerpetualAdapter().parse_instruments([documented.SWAP_INSTRUMENTS], ["BTC-USDT-PERP", "PEPE-USDT-PERP"])
    assert (btc.native, btc.contract_size, btc.lot, btc.min_quantity) == (
        "BTC-USDT-SWAP",
        Decimal("0.01"),
        Decimal("0.0001"),
        Decimal("0.0001"),
    )
    assert (pepe.contract_size, pepe.lot) == (Decimal(10_000_000), Decimal(1_000_000))


def test_every_symbol_that_cannot_be_served_is_named() -> None:
    with pytest.raises(ValueError, match=r"does not list XXX-USDT-PERP; BTC-USD-PERP is an inverse contract") as error:
        PerpetualAdapter().parse_instruments(
            [documented.SWAP_INSTRUMENTS], ["XXX-USDT-PERP", "BTC-USDT-PERP", "BTC-USD-PERP", "YYY-USDT-PERP"]
        )
    assert "YYY-USDT-PERP" in str(error.value)
    with pytest.raises(ValueError, match="50011"):
        SpotAdapter().parse_instruments([b'{"code":"50011","msg":"Too Many Requests","data":[]}'], ["BTC-USDT"])


def test_polled_contracts_are_shown_in_base_units() -> None:
    adapter = PerpetualAdapter()
    url = adapter.snapshot_url(SWAP, 1000, adapter.endpoint)
    assert url == "https://www.okx.com/api/v5/market/books?instId=BTC-USDT-SWAP&sz=400"
    body = (
        b'{"code":"0","msg":"","data":[{"asks":[["41006.8","60","0","1"]],"bids":[["41006.3","30","0","2"]],'
        b'"ts":"1629966436396","seqId":3235851742}]}'
    )
    session = opened(SWAP)
    session.polled(SWAP.symbol, adapter.parse_snapshot(body), NOW)
    assert shown(session.books[SWAP.symbol]) == ((("41006.3", "0.30"),), (("41006.8", "0.60"),))
    with pytest.raises(ValueError, match="51001"):
        adapter.parse_snapshot(b'{"code":"51001","msg":"Instrument ID does not exist","data":[]}')
