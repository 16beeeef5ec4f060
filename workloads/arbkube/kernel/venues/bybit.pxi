# Bybit's deltas, proven by consecutive update ids. Fields in this order:
#
#     {"topic":"orderbook.50.…","type":"delta","ts":…,"data":{"s":"…","b":[…],"a":[…],"u":…,"seq":…},"cts":…}

@cython.final
cdef class BybitScanner(Scanner):
    def __init__(self, session, chains, prefix):
        for symbol, chain in chains.items():
            native = session.instruments[symbol].native
            book = session.books[symbol]
            self.add(f"{prefix}{native}".encode(), Lane(book, book.book, chain, native.encode()))

    cdef bint scan(self, const char* at, const char* end, object now_ns) except -1:
        cdef const char* begin
        cdef Lane lane
        cdef Py_ssize_t count = 0
        cdef int64_t ms, update, sequence, ignored
        at = literal(at, end, b'{"topic":"', 10)
        if at == NULL:
            return False
        begin = at
        at = plain(at)
        if at == NULL:
            return False
        lane = self.lane_of(begin, at - 1 - begin)
        if lane is None or lane.ticks.text is not None:
            return False
        at = integer(literal(at, end, b',"type":"delta","ts":', 21), end, &ms)
        at = native(literal(at, end, b',"data":{"s":"', 14), end, lane)
        at = literal(at, end, b',"b":', 5)
        if at == NULL:
            return False
        at = literal(lane.ticks.read_levels(at, end, 1, &count), end, b',"a":', 5)
        if at == NULL:
            return False
        at = integer(literal(lane.ticks.read_levels(at, end, -1, &count), end, b',"u":', 5), end, &update)
        at = integer(literal(at, end, b',"seq":', 7), end, &sequence)
        at = integer(literal(at, end, b'},"cts":', 8), end, &ignored)
        if literal(at, end, b"}", 1) != end or ms >= 9 * <int64_t>TEN[12]:
            return False
        chain = lane.state
        last = chain.last
        if last < 0 or last + 1 != update or lane.book.withheld is not None:
            return False

        lane.ticks.change_all(count)
        lane.counts.messages += 1
        lane.counts.updates += 1
        chain.last = update
        chain.seq = sequence
        if chain.newest < sequence:
            chain.newest = sequence
        tops = chain.tops
        if tops and tops[0].seq <= sequence:
            self.session.judge(lane.book, chain, ms, now_ns)
        else:
            self.prove(lane, ms * 1000000, now_ns)
        return True
