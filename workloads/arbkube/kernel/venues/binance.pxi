# Binance's diffs, tops and trades, for the case that is nearly all: a whole chain, and a diff that follows.
#
# `BinanceScanner.take` either does all that the pure session would, or nothing and says so. Which frames it knows, fields in this
# order, inside `{"stream":"…","data":{…}}`:
#
#     spot diff    e=depthUpdate E s U u b a            USD-M diff    e=depthUpdate E T s U u pu b a
#     spot top     u s b B a A                          USD-M top     e=bookTicker u s b B a A T E
#     other        e=…, then single-letter fields; changes nothing

cdef enum:
    TOPS = 256


cdef struct Text:  # of a number
    int64_t mantissa
    uint8_t places


cdef struct Top:
    int64_t update
    Text[4] texts  # bid, its size, ask, its size


cdef inline const char* read_text(const char* at, const char* end, Text* text) noexcept nogil:
    cdef Number number
    if at == NULL:
        return NULL
    at = read_number(at, end, &number)
    if at == NULL or not mantissa_of(&number, &text.mantissa, &text.places):
        return NULL
    return at


cdef inline bint reads(object text, Text* number) noexcept:
    """Read a number that is all of a str."""
    cdef const char* at = characters_of(text)
    cdef const char* end = at + PyUnicode_GET_LENGTH(text) if at != NULL else NULL
    return at != NULL and read_text(at, end, number) == end


@cython.final
cdef class BinanceTops:
    """The compiled form of `Tops`. What is not four numbers makes it that one, until it is used up."""

    cdef Top* tops
    cdef int first, count
    cdef Top latest
    cdef bint known
    cdef bint spot
    cdef object pure
    cdef readonly object odd

    def __cinit__(self, pure, *, bint spot):
        self.pure = pure
        self.spot = spot
        self.tops = <Top*>malloc(TOPS * sizeof(Top))
        if self.tops == NULL:
            raise MemoryError

    def __dealloc__(self):
        free(self.tops)

    def __len__(self):
        return self.count if self.odd is None else len(self.odd)

    def clear(self):
        self.first = self.count = 0
        self.known = False
        self.odd = None

    def note(self, event):
        cdef Top top
        if self.odd is None:
            if self.read(event, &top):
                self.add(&top)
                return
            self.become_odd()
        self.odd.note(event)

    def agree(self, last, book, counts):
        if self.odd is None and (<TickBook?>book).text is not None:
            self.become_odd()
        if self.odd is None:
            return self.agreeing(last, book, counts)
        agreed = self.odd.agree(last, book, counts)
        if not self.odd.waiting and (<TickBook?>book).text is None:
            self.known = self.odd.latest is not None
            if not self.known or self.read(self.odd.latest, &self.latest):
                self.odd = None
        return agreed

    cdef bint read(self, event, Top* top) except -1:
        update = event.u
        if not -1 <= update < TEN[18]:
            return False
        top.update = update
        return (
            reads(event.b, &top.texts[0])
            and reads(event.B, &top.texts[1])
            and reads(event.a, &top.texts[2])
            and reads(event.A, &top.texts[3])
        )

    cdef inline void add(self, const Top* top) noexcept nogil:
        """As a deque of bounded length does: the oldest gives way."""
        if self.count == TOPS:
            self.first = (self.first + 1) % TOPS
            self.count -= 1
        self.tops[(self.first + self.count) % TOPS] = top[0]
        self.count += 1

    cdef inline bint agreeing(self, int64_t last, TickBook book, TickCounts counts) except -1:
        cdef Top* top
        while self.count and self.tops[self.first].update <= last:
            top = &self.tops[self.first]
            if not self.known or top.update >= self.latest.update:
                self.latest = top[0]
                self.known = True
            self.first = (self.first + 1) % TOPS
            self.count -= 1
        if not self.known or not (self.spot or self.latest.update == last):
            return True
        counts.tops_checked += 1
        if self.best_is(book, 0, self.latest.texts) and self.best_is(book, 1, &self.latest.texts[2]):
            return True
        counts.tops_mismatched += 1
        return False

    cdef inline bint best_is(self, TickBook book, int number, const Text* texts) noexcept nogil:
        """Whether the best level of a side reads as the two texts: the same number with the same places is the same text."""
        cdef Side* side = &book.sides[number]
        cdef Slot* slot
        if side.best < 0:
            return False
        slot = &side.slots[side.best]
        return (
            slot.size == texts[1].mantissa
            and slot.size_places == texts[1].places
            and slot.price_places == texts[0].places
            and book.price_mantissa(side.base + side.best, slot) == <uint64_t>texts[0].mantissa
        )

    cdef int become_odd(self) except -1:
        cdef int number
        waiting = [self.told(&self.tops[(self.first + number) % TOPS]) for number in range(self.count)]
        latest = self.told(&self.latest) if self.known else None
        self.clear()
        self.odd = self.pure.restored(latest, waiting, spot=self.spot)
        return 0

    cdef tuple told(self, const Top* top):
        cdef int number
        cdef list parts = [top.update]
        for number in range(4):
            parts.append(text_of(<uint64_t>top.texts[number].mantissa, top.texts[number].places))
        return tuple(parts)


@cython.final
cdef class BinanceChain:
    """The compiled form of `Chain`."""

    cdef public int64_t last
    cdef public bint started
    cdef public object waiting
    cdef public object renewal
    cdef public int misses
    cdef public Py_ssize_t snapshot_depth
    cdef readonly BinanceTops tops

    def __init__(self, tops, *, spot):
        self.tops = BinanceTops(tops, spot=spot)
        self.reset()

    def reset(self):
        self.last = -1
        self.started = False
        self.waiting = []
        self.renewal = None
        self.misses = 0
        self.snapshot_depth = 0
        self.tops.clear()


@cython.final
cdef class BinanceScanner(Scanner):
    cdef bint spot

    def __init__(self, session, chains, *, bint spot):
        self.spot = spot
        for symbol, chain in chains.items():
            native = session.instruments[symbol].native.encode()
            self.add(native.lower(), Lane(session.books[symbol], session.books[symbol].book, chain, native))

    cdef bint scan(self, const char* at, const char* end, object now_ns) except -1:
        cdef const char* begin
        cdef const char* after
        cdef Lane lane
        at = literal(at, end, b'{"stream":"', 11)
        if at == NULL:
            return False
        begin = at
        while (97 <= at[0] <= 122) or (48 <= at[0] <= 57):
            at += 1
        if at[0] != 64:  # @
            return False
        lane = self.lane_of(begin, at - begin)
        if lane is None:
            return False
        at = literal(plain(at), end, b',"data":{"', 10)
        if at == NULL:
            return False
        if at[0] == 117:  # u
            return self.spot_top(at, end, lane)
        at = literal(at, end, b'e":"', 4)
        after = literal(at, end, b'bookTicker"', 11)
        if after != NULL:
            return self.perpetual_top(after, end, lane)
        after = literal(at, end, b'depthUpdate"', 12)
        if after != NULL:
            return self.diff(after, end, lane, now_ns)
        if at == NULL or at[0] == 34:
            return False
        return unconcerned(plain(at), end)

    cdef bint diff(self, const char* at, const char* end, Lane lane, object now_ns) except -1:
        cdef int64_t ms, ignored, first, last, previous
        cdef Py_ssize_t count = 0
        cdef BinanceChain chain = <BinanceChain>lane.state
        cdef TickBook ticks = lane.ticks
        if chain.waiting is not None or chain.renewal is not None or ticks.text is not None or chain.tops.odd is not None:
            return False
        at = integer(literal(at, end, b',"E":', 5), end, &ms)
        if not self.spot:
            at = integer(literal(at, end, b',"T":', 5), end, &ignored)
        at = native(literal(at, end, b',"s":"', 6), end, lane)
        at = integer(literal(at, end, b',"U":', 5), end, &first)
        at = integer(literal(at, end, b',"u":', 5), end, &last)
        if at == NULL:
            return False
        previous = first - 1
        if not self.spot:
            at = integer(literal(at, end, b',"pu":', 6), end, &previous)
        at = literal(at, end, b',"b":', 5)
        if at == NULL or first > last or ms >= 9 * <int64_t>TEN[12]:
            return False
        if previous != chain.last if chain.started else not (previous <= chain.last < last):
            return False
        at = literal(ticks.read_levels(at, end, 1, &count), end, b',"a":', 5)
        if at == NULL:
            return False
        at = literal(ticks.read_levels(at, end, -1, &count), end, b"}}", 2)
        if at != end or lane.book.withheld is not None:
            return False

        ticks.change_all(count)
        lane.counts.messages += 1
        lane.counts.updates += 1
        chain.last = last
        chain.started = True
        if not chain.tops.agreeing(last, ticks, lane.counts):
            self.session.contradicted(lane.book, chain, now_ns)
        else:
            self.prove(lane, ms * 1000000, now_ns)
        return True

    cdef bint spot_top(self, const char* at, const char* end, Lane lane) except -1:
        cdef Top top
        at = integer(literal(at, end, b'u":', 3), end, &top.update)
        at = literal(texts(at, end, lane, &top), end, b'"}}', 3)
        return at == end and noted(lane, &top)

    cdef bint perpetual_top(self, const char* at, const char* end, Lane lane) except -1:
        cdef Top top
        cdef int64_t ignored
        at = integer(literal(at, end, b',"u":', 5), end, &top.update)
        at = literal(texts(at, end, lane, &top), end, b'","T":', 6)
        at = integer(literal(integer(at, end, &ignored), end, b',"E":', 5), end, &ignored)
        return literal(at, end, b"}}", 2) == end and noted(lane, &top)


cdef inline const char* texts(const char* at, const char* end, Lane lane, Top* top) noexcept:
    at = native(literal(at, end, b',"s":"', 6), end, lane)
    at = read_text(literal(at, end, b',"b":"', 6), end, &top.texts[0])
    at = read_text(literal(at, end, b'","B":"', 7), end, &top.texts[1])
    at = read_text(literal(at, end, b'","a":"', 7), end, &top.texts[2])
    return read_text(literal(at, end, b'","A":"', 7), end, &top.texts[3])


cdef inline bint noted(Lane lane, const Top* top) except -1:
    cdef BinanceTops tops = (<BinanceChain>lane.state).tops
    if tops.odd is not None:
        return False
    lane.counts.messages += 1
    tops.add(top)
    return True


cdef bint unconcerned(const char* at, const char* end) noexcept nogil:
    """Whether the rest of an event is whole and of the types that the pure form asks for; such an event changes nothing."""
    cdef int64_t ignored
    cdef unsigned char field
    while at != NULL and at[0] == 44:  # ,
        if at[1] != 34 or not 65 <= at[2] <= 122 or at[3] != 34 or at[4] != 58:  # "x":
            return False
        field = at[2]
        at += 5
        if field == 101 or field == 92:  # e once more, or an escape
            return False
        if at[0] == 34:
            if field == 69 or field == 85 or field == 117:  # E U u are numbers
                return False
            at = plain(at + 1)
        elif at[0] == 116 or at[0] == 102:
            if field == 115 or field == 69 or field == 85 or field == 117 or (field & 223) == 65 or (field & 223) == 66:
                return False
            at = boolean(at, end)
        else:
            if field == 115:  # s is a text
                return False
            at = integer(at, end, &ignored)
    return literal(at, end, b"}}", 2) == end
