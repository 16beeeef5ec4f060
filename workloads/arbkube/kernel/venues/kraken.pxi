# Kraken's book updates, proven by the CRC32 of the best ten levels. Fields in this order:
#
#     {"channel":"book","type":"update","data":[{"symbol":"…","bids":[{"price":…,"qty":…},…],"asks":[…],"checksum":…,"timestamp":"…"}]}

cdef enum:
    KRAKEN_DEPTH = 10


@cython.final
cdef class KrakenScanner(Scanner):
    cdef set without_snapshot
    cdef dict resync_at

    def __init__(self, session, places, set without_snapshot not None):
        self.without_snapshot = without_snapshot
        self.resync_at = session._resync_at
        for symbol, instrument in session.instruments.items():
            book = session.books[symbol]
            native = instrument.native.encode()
            if 0 < min(places[symbol]) and max(places[symbol]) <= 18:
                self.add(native, Lane(book, book.book, (symbol, *places[symbol]), native))

    cdef bint scan(self, const char* at, const char* end, object now_ns) except -1:
        cdef const char* begin
        cdef Lane lane
        cdef Py_ssize_t count = 0
        cdef int64_t checksum, venue_ns
        cdef int price_places, size_places
        at = literal(at, end, b'{"channel":"book","type":"update","data":[{"symbol":"', 53)
        if at == NULL:
            return False
        begin = at
        at = plain(at)
        if at == NULL:
            return False
        lane = self.lane_of(begin, at - 1 - begin)
        if lane is None or lane.ticks.text is not None:
            return False
        symbol = (<tuple>lane.state)[0]
        price_places = (<tuple>lane.state)[1]
        size_places = (<tuple>lane.state)[2]
        at = kraken_levels(lane.ticks, literal(at, end, b',"bids":[', 9), end, 1, price_places, size_places, &count)
        at = kraken_levels(lane.ticks, literal(at, end, b',"asks":[', 9), end, -1, price_places, size_places, &count)
        at = integer(literal(at, end, b',"checksum":', 12), end, &checksum)
        at = moment(literal(at, end, b',"timestamp":"', 14), end, &venue_ns)
        if literal(at, end, b"}]}", 3) != end or symbol in self.without_snapshot:
            return False

        lane.counts.messages += 1
        lane.ticks.change_all(count)
        lane.ticks.cut(&lane.ticks.sides[0], KRAKEN_DEPTH)
        lane.ticks.cut(&lane.ticks.sides[1], KRAKEN_DEPTH)
        if kraken_checksum(lane.ticks) != checksum:
            self.session.judge(lane.book, checksum, venue_ns, now_ns)
            return True
        lane.counts.checksums_matched += 1
        lane.counts.updates += 1
        if self.resync_at:
            self.resync_at.pop(symbol, None)
        self.prove(lane, venue_ns, now_ns)
        return True


cdef inline void padded(Number* number, int places) noexcept nogil:
    """Written with at least so many decimal places."""
    if number.places < places:
        number.fraction *= TEN[places - number.places]
        number.places = places


cdef const char* kraken_levels(
    TickBook ticks, const char* at, const char* end, int sign, int price_places, int size_places, Py_ssize_t* count
) except? NULL:
    cdef Number price, size
    if at == NULL:
        return NULL
    if at[0] == 93:  # ]
        return at + 1
    while True:
        at = literal(at, end, b'{"price":', 9)
        at = NULL if at == NULL else read_number(at, end, &price)
        at = literal(at, end, b',"qty":', 7)
        at = NULL if at == NULL else read_number(at, end, &size)
        at = literal(at, end, b"}", 1)
        if at == NULL:
            return NULL
        padded(&price, price_places)
        padded(&size, size_places)
        if not ticks.read_level(&price, &size, sign, count):
            return NULL
        if at[0] == 93:
            return at + 1
        if at[0] != 44:
            return NULL
        at += 1


cdef int64_t kraken_checksum(TickBook ticks) except -1:
    """Of the best ten asks and then bids, each price and size without the point and leading zeros."""
    cdef char[2 * KRAKEN_DEPTH * 2 * LONGEST] text
    cdef char* to = text
    cdef Side* side
    cdef Slot* slot
    cdef int64_t place
    cdef int number, level
    for number in range(1, -1, -1):
        side = &ticks.sides[number]
        reachable(side, KRAKEN_DEPTH)
        place = side.best
        level = 0
        while place >= 0 and level < KRAKEN_DEPTH:
            slot = &side.slots[place]
            to = write_number(to, ticks.price_mantissa(side.base + place, slot), 0)
            to = write_whole(to, <uint64_t>slot.size, slot.size_places)
            level += 1
            place = next_below(side, place)
    return crc32(text, to - text)
