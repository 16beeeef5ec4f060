# Coinbase's updates, proven by a number that counts the connection's messages. Fields in this order:
#
#     {"channel":"l2_data","client_id":"…","timestamp":"…","sequence_num":…,"events":[{"type":"update","product_id":"…",
#      "updates":[{"side":"bid"|"offer","event_time":"…","price_level":"…","new_quantity":"…"},…]}]}

@cython.final
cdef class CoinbaseScanner(Scanner):
    cdef object chain
    cdef set without_snapshot

    def __init__(self, session, products, chain, set without_snapshot not None):
        self.chain = chain
        self.without_snapshot = without_snapshot
        for product, books in products.items():
            if len(books) == 1:
                self.add(product.encode(), Lane(books[0], books[0].book, books[0].symbol, product.encode()))

    cdef bint scan(self, const char* at, const char* end, object now_ns) except -1:
        cdef const char* begin
        cdef Lane lane
        cdef Py_ssize_t count = 0
        cdef int64_t sequence, venue_ns
        at = plain(literal(at, end, b'{"channel":"l2_data","client_id":"', 34))
        at = moment(literal(at, end, b',"timestamp":"', 14), end, &venue_ns)
        at = integer(literal(at, end, b',"sequence_num":', 16), end, &sequence)
        at = literal(at, end, b',"events":[{"type":"update","product_id":"', 42)
        begin = at
        at = plain(at)
        if at == NULL:
            return False
        lane = self.lane_of(begin, at - 1 - begin)
        if lane is None or lane.ticks.text is not None:
            return False
        at = coinbase_levels(lane.ticks, literal(at, end, b',"updates":[', 12), end, &count)
        if literal(at, end, b"}]}", 3) != end:
            return False
        chain = self.chain
        last = chain.last
        if chain.broken or (last >= 0 and last + 1 != sequence) or lane.state in self.without_snapshot:
            return False

        chain.last = sequence
        chain.sent_ns = venue_ns
        lane.counts.messages += 1
        lane.counts.updates += 1
        lane.ticks.change_all(count)
        self.prove(lane, venue_ns, now_ns)
        if lane.book.withheld is not None:
            self.without_snapshot.add(lane.state)
        return True


cdef const char* coinbase_levels(TickBook ticks, const char* at, const char* end, Py_ssize_t* count) except? NULL:
    cdef Number price, size
    cdef const char* after
    cdef int sign
    if at == NULL:
        return NULL
    if at[0] == 93:  # ]
        return at + 1
    while True:
        sign = 1
        at = literal(at, end, b'{"side":"', 9)
        after = literal(at, end, b'bid"', 4)
        if after == NULL:
            sign = -1
            after = literal(at, end, b'offer"', 6)
        at = plain(literal(after, end, b',"event_time":"', 15))
        at = literal(at, end, b',"price_level":"', 16)
        at = NULL if at == NULL else read_number(at, end, &price)
        at = literal(at, end, b'","new_quantity":"', 18)
        at = NULL if at == NULL else read_number(at, end, &size)
        at = literal(at, end, b'"}', 2)
        if at == NULL or not ticks.read_level(&price, &size, sign, count):
            return NULL
        if at[0] == 93:
            return at + 1
        if at[0] != 44:
            return NULL
        at += 1
