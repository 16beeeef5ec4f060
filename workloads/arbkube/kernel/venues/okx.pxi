# OKX's updates, proven by a chain of sequence ids or by a checksum. Fields in this order, the two ids in either or none:
#
#     {"arg":{"channel":"books","instId":"…"},"action":"update","data":[{"asks":[["price","size","0","1"],…],"bids":[…],
#      "ts":"…","checksum":…,"seqId":…,"prevSeqId":…}]}

cdef enum:
    OKX_CHECKSUM_DEPTH = 25


@cython.final
cdef class OkxScanner(Scanner):
    cdef bint needs_chain, needs_checksum
    cdef int window

    def __init__(self, session, chains, *, int window, bint needs_chain, bint needs_checksum):
        self.window = window
        self.needs_chain = needs_chain
        self.needs_checksum = needs_checksum
        for symbol, chain in chains.items():
            native = session.instruments[symbol].native.encode()
            self.add(native, Lane(session.books[symbol], chain.wire, chain, native))

    cdef bint scan(self, const char* at, const char* end, object now_ns) except -1:
        cdef const char* begin
        cdef const char* after
        cdef Lane lane
        cdef Py_ssize_t count = 0
        cdef int64_t ms, checksum, update = -1, before = -1
        cdef bint numbered = True, linked
        at = literal(at, end, b'{"arg":{"channel":"books","instId":"', 36)
        if at == NULL:
            return False
        begin = at
        at = plain(at)
        if at == NULL:
            return False
        lane = self.lane_of(begin, at - 1 - begin)
        if lane is None or lane.ticks.text is not None:
            return False
        at = okx_levels(lane.ticks, literal(at, end, b'},"action":"update","data":[{"asks":[', 37), end, -1, &count)
        at = okx_levels(lane.ticks, literal(at, end, b',"bids":[', 9), end, 1, &count)
        at = integer(literal(at, end, b',"ts":"', 7), end, &ms)
        at = signed_integer(literal(at, end, b'","checksum":', 13), end, &checksum)
        if at == NULL or ms >= 9 * <int64_t>TEN[12]:
            return False
        after = integer(literal(at, end, b',"seqId":', 9), end, &update)
        if after != NULL:
            at = integer(literal(after, end, b',"prevSeqId":', 13), end, &before)
        else:
            after = integer(literal(at, end, b',"prevSeqId":', 13), end, &before)
            if after != NULL:
                at = integer(literal(after, end, b',"seqId":', 9), end, &update)
            else:
                numbered = False
        if literal(at, end, b"}]}", 3) != end or lane.book.withheld is not None:
            return False
        chain = lane.state
        last = chain.last
        if not chain.based:
            return False
        if numbered:
            if (last != before and last >= 0) or update < before:
                return False
            linked = chain.linked
        else:
            if chain.linked and checksum == 0:
                return False
            linked = False
        if not (checksum or linked) or (self.needs_chain and not linked) or (self.needs_checksum and not checksum):
            return False

        lane.counts.messages += 1
        lane.counts.updates += 1
        lane.ticks.change_all(count)
        chain.linked = linked
        if chain.newest < update:
            chain.newest = update
        if chain.newest_ms < ms:
            chain.newest_ms = ms
        chain.previous = last
        chain.last = update
        tops = chain.tops
        if (tops and tops[0].seq_id <= update) or (checksum and okx_checksum(lane.ticks) != checksum):
            self.session.judge(lane.book, chain, checksum, ms, now_ns)
            return True
        if checksum:
            lane.counts.checksums_matched += 1
        lane.book.covered_depth = self.window if linked else OKX_CHECKSUM_DEPTH
        self.prove(lane, ms * 1000000, now_ns)
        return True


cdef const char* okx_levels(TickBook ticks, const char* at, const char* end, int sign, Py_ssize_t* count) except? NULL:
    """Levels of four texts, of which the last two do not matter."""
    cdef Number price, size
    if at == NULL:
        return NULL
    if at[0] == 93:  # ]
        return at + 1
    while True:
        at = literal(at, end, b'["', 2)
        at = NULL if at == NULL else read_number(at, end, &price)
        at = literal(at, end, b'","', 3)
        at = NULL if at == NULL else read_number(at, end, &size)
        at = plain(literal(plain(literal(at, end, b'","', 3)), end, b',"', 2))
        if at == NULL or at[0] != 93 or not ticks.read_level(&price, &size, sign, count):
            return NULL
        at += 1
        if at[0] == 93:
            return at + 1
        if at[0] != 44:
            return NULL
        at += 1


cdef int32_t okx_checksum(TickBook ticks) except? -1:
    """Of the best 25 levels, bid and ask by turns, each price and size as written, joined by colons."""
    cdef char[2 * OKX_CHECKSUM_DEPTH * 2 * (LONGEST + 1)] text
    cdef char* to = text
    cdef int64_t[2] place
    cdef Side* side
    cdef Slot* slot
    cdef int number, level
    reachable(&ticks.sides[0], OKX_CHECKSUM_DEPTH)
    reachable(&ticks.sides[1], OKX_CHECKSUM_DEPTH)
    place[0] = ticks.sides[0].best
    place[1] = ticks.sides[1].best
    for level in range(OKX_CHECKSUM_DEPTH):
        for number in range(2):
            side = &ticks.sides[number]
            if place[number] >= 0:
                slot = &side.slots[place[number]]
                to = write_number(to, ticks.price_mantissa(side.base + place[number], slot), slot.price_places)
                to[0] = 58  # :
                to = write_number(to + 1, <uint64_t>slot.size, slot.size_places)
                to[0] = 58
                to += 1
                place[number] = next_below(side, place[number])
    return <int32_t>crc32(text, to - text - 1 if to != text else 0)
