"""What travels over the bus: book frames and the pulse of their feed.

For: one self-contained picture of a book at a moment, so that a reader may miss or conflate frames and is never wrong, only
older. May not: do I/O. The wire form is MessagePack with positional fields.
"""

from __future__ import annotations

import msgspec

from arbkube.market.book import Level


class BookFrame(msgspec.Struct, frozen=True, array_like=True, kw_only=True):
    """The best levels of one book. Times are integer nanoseconds UTC.

    A frame with a non-empty `withheld` carries no levels and says that whatever was known of the book is void.
    """

    feed: str
    symbol: str
    epoch: int
    """Changes whenever the feed's numbering starts anew (a new process)."""
    seq: int
    """Grows by at least one from frame to frame of one book within an epoch."""
    bids: tuple[Level, ...]
    """Best first, in the venue's text, restricted to levels that the venue's proof covers."""
    asks: tuple[Level, ...]
    truncated: bool
    """Whether the book goes on beyond the last level given: nothing may be concluded about what lies there."""
    venue_ns: int
    """The venue's own time of the last event, or 0 where it gives none."""
    recv_ns: int
    """When the last event was received, on the feed's clock."""
    withheld: str = ""
    """Empty for a verified book, else the reason why there is none (a `WithheldReason`)."""


class FrameBatch(msgspec.Struct, frozen=True, array_like=True, kw_only=True):
    """What one turn of a feed's event loop produced. Without frames it is a pulse: the feed lives, nothing moved.

    Quiet is not stale: readers judge a book's age by `alive_ns` of its connection, which a heartbeat or pong renews as well.
    """

    feed: str
    epoch: int
    sent_ns: int
    clock_offset_ns: int | None
    """Feed clock minus the bus server's clock; None while it has not been measured, and then every book of it is stale."""
    alive_ns: dict[str, int]
    """Per symbol: when the connection that carries it last proved to be alive (feed clock)."""
    excess_transit_ns: dict[str, int]
    """Per symbol: how much longer the last event took to arrive than the quickest one of the rolling window."""
    frames: tuple[BookFrame, ...]


def conflate(batches: list[FrameBatch]) -> list[FrameBatch]:
    """The same knowledge in fewer batches: consecutive ones of one feed and epoch become one with the latest frame a book.

    What a reader that fell behind does before it works: it is then older by nothing, and every book is looked at once.
    """
    merged: dict[tuple[str, int], FrameBatch] = {}
    frames: dict[tuple[str, int], dict[str, BookFrame]] = {}
    for batch in batches:
        key = (batch.feed, batch.epoch)
        earlier = merged.get(key)
        latest = frames.setdefault(key, {})
        latest.update((frame.symbol, frame) for frame in batch.frames)
        if earlier is None:
            merged[key] = batch
        else:
            merged[key] = FrameBatch(
                feed=batch.feed,
                epoch=batch.epoch,
                sent_ns=batch.sent_ns,
                clock_offset_ns=batch.clock_offset_ns,
                alive_ns={**earlier.alive_ns, **batch.alive_ns},
                excess_transit_ns={**earlier.excess_transit_ns, **batch.excess_transit_ns},
                frames=(),
            )
    return [msgspec.structs.replace(batch, frames=tuple(frames[key].values())) for key, batch in merged.items()]


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(FrameBatch)


def encode(batch: FrameBatch) -> bytes:
    """The batch's wire form."""
    return _encoder.encode(batch)


def decode(data: bytes) -> FrameBatch:
    """A batch from its wire form. Raises msgspec.DecodeError or msgspec.ValidationError."""
    try:
        return _decoder.decode(data)
    except UnicodeDecodeError as error:
        raise msgspec.DecodeError(str(error)) from error
