# What the venues' scanners share: finding the book that a frame is for, and saying that it is proven.
#
# A scanner belongs to one session. It takes the frames that change a book in the usual way, does all that the pure session would
# do with them, and touches nothing where it takes none. Whatever is not usual — a gap, a snapshot, a book withheld, a layout that
# it does not know — stays the session's, which works on the same books.

cdef class Lane:
    """One instrument's parts."""

    cdef object book  # VerifiedBook
    cdef TickCounts counts
    cdef TickBook ticks
    cdef object state  # where the book stands in its venue's proof
    cdef bytes native

    def __init__(self, book, TickBook ticks not None, state, bytes native not None):
        self.book = book
        self.counts = book.counts
        self.ticks = ticks
        self.state = state
        self.native = native


cdef class Scanner:
    """`taken` and `passed` count the frames that it has and has not dealt with."""

    cdef dict lanes  # by the text that a frame names them with
    cdef PyObject** table  # the same by the hash of that text, open addressing: a few bytes are compared, nothing is made
    cdef uint64_t mask
    cdef object session
    cdef dict changed
    cdef readonly int64_t taken, passed

    def __cinit__(self, session, *_, **__):
        self.session = session
        self.changed = session.changed
        self.lanes = {}

    def __dealloc__(self):
        free(self.table)

    def take(self, frame, now_ns, /):
        """Deal with a frame. False: nothing has been done, and the session has to."""
        cdef const char* at
        if type(frame) is bytes:
            at = PyBytes_AS_STRING(frame)
            if self.scan(at, at + PyBytes_GET_SIZE(frame), now_ns):
                self.taken += 1
                return True
        self.passed += 1
        return False

    cdef bint scan(self, const char* at, const char* end, object now_ns) except -1:
        return False

    cdef int add(self, bytes name, Lane lane) except -1:
        cdef uint64_t at
        self.lanes[name] = lane
        free(self.table)
        self.mask = 15
        while self.mask < 4 * <uint64_t>len(self.lanes):
            self.mask = 2 * self.mask + 1
        self.table = <PyObject**>calloc(2 * (self.mask + 1), sizeof(PyObject*))
        if self.table == NULL:
            raise MemoryError
        for known, found in self.lanes.items():
            at = hash_of(<bytes>known, len(<bytes>known)) & self.mask
            while self.table[2 * at] != NULL:
                at = (at + 1) & self.mask
            self.table[2 * at] = <PyObject*>known
            self.table[2 * at + 1] = <PyObject*>found
        return 0

    cdef Lane lane_of(self, const char* name, Py_ssize_t length):
        cdef uint64_t at = hash_of(name, length) & self.mask
        cdef bytes known
        if self.table == NULL:
            return None
        while self.table[2 * at] != NULL:
            known = <bytes>self.table[2 * at]
            if PyBytes_GET_SIZE(known) == length and memcmp(name, PyBytes_AS_STRING(known), length) == 0:
                return <Lane>self.table[2 * at + 1]
            at = (at + 1) & self.mask
        return None

    cdef int prove(self, Lane lane, int64_t venue_ns, object now_ns) except -1:
        """As `Session.prove` does; what is not usual is left to it."""
        book = lane.book
        if book.withheld is not None or lane.ticks.is_crossed():
            self.session.prove(book, venue_ns, now_ns)
            return 0
        book.seq = book.seq + 1
        book.venue_ns = venue_ns
        book.recv_ns = now_ns
        self.changed[book.symbol] = book
        return 0


cdef inline uint64_t hash_of(const char* text, Py_ssize_t length) noexcept nogil:
    cdef uint64_t value = length
    cdef Py_ssize_t number
    for number in range(length):
        value = (value ^ <unsigned char>text[number]) * <uint64_t>0x100000001B3
    return value ^ (value >> 32)


cdef inline const char* native(const char* at, const char* end, Lane lane) noexcept:
    """The lane's own symbol, and the quote that ends it."""
    return literal(literal(at, end, PyBytes_AS_STRING(lane.native), PyBytes_GET_SIZE(lane.native)), end, b'"', 1)
