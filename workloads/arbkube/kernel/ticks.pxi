# The flat book: a level is a place in an array.
#
# Prices are integer ticks of 10^-places, `places` being what the prices seen so far need; a finer one refines the whole book.
# A side keeps its best part in a window of `width` consecutive ticks, one slot each, with a bitmap of the occupied ones and a
# coarser bitmap of that, so that the best level is found by looking at a few words. Levels worse than the window are in a hash
# table, unordered: none is ever dropped. The window moves when the price leaves it on the better side or its last level goes
# (re-centring), and becomes four times as wide, up to a bound, while a sixteenth of the changes falls beyond it (growth).
#
# Keys: a bid's is its tick, an ask's the negative of it, so that on both sides the best level has the highest key.
# What the numbers cannot hold exactly makes the book a `TextBook` until it is next emptied.

cdef enum:
    LEAST_WIDTH = 1024
    MOST_WIDTH = 65536
    SEEN = 64
    FEW = 64


cdef struct Slot:
    int64_t size  # mantissa; 0 where there is no level
    uint8_t price_places
    uint8_t size_places


cdef struct Entry:
    int64_t key
    Slot slot


cdef struct Seen:
    int64_t key
    Slot slot
    PyObject* level


cdef struct Side:
    int64_t base  # key of the first slot
    int64_t width
    Slot* slots
    uint64_t* bits
    uint64_t* coarse
    int64_t count
    int64_t best  # place of the best level in the window, -1 where the side is empty
    Entry* far  # open addressing; size 0 marks a free entry
    int64_t far_width
    int64_t far_count
    int64_t changes, beyond  # how many there were since the window was last laid, and how many of them fell beyond it
    int seen_count
    Seen[SEEN] seen  # levels as they were last told, best first


# Parsed changes of one frame, bids and then asks. One buffer serves all books, since a frame is applied before the next is read.
cdef Entry* changes = NULL
cdef Py_ssize_t changes_room = 0


cdef int more_changes() except -1:
    global changes, changes_room
    cdef Py_ssize_t room = 2 * changes_room if changes_room else 1024
    cdef Entry* larger = <Entry*>realloc(changes, room * sizeof(Entry))
    if larger == NULL:
        raise MemoryError
    changes = larger
    changes_room = room
    return 0


cdef inline int64_t ticks_of(const Number* price, int places) noexcept nogil:
    """The price in ticks, -1 where its last digit needs a finer tick, or -2 where the numbers end."""
    cdef uint64_t fraction
    cdef int dropped = price.places - places
    if price.whole and price.whole_digits + places > 15 or price.whole_digits + price.places > 18:
        return -2
    if dropped <= 0:
        fraction = price.fraction * TEN[-dropped]
    else:
        fraction = over_ten(price.fraction, dropped)
        if fraction * TEN[dropped] != price.fraction:
            return -1
    return <int64_t>(price.whole * TEN[places] + fraction)


cdef inline int places_of(const Number* price) noexcept nogil:
    """Decimal places that the price needs."""
    cdef int places = price.places
    cdef uint64_t fraction = price.fraction
    while places and fraction % 10 == 0:
        fraction = fraction // 10
        places -= 1
    return places


cdef inline uint64_t hashed(int64_t key) noexcept nogil:
    return (<uint64_t>key * <uint64_t>0x9E3779B97F4A7C15) >> 20


cdef inline Entry* far_find(Side* side, int64_t key) noexcept nogil:
    """The entry of `key`, or the free one where it would be. The table is never full."""
    cdef uint64_t mask = <uint64_t>(side.far_width - 1)
    cdef uint64_t at = hashed(key) & mask
    while side.far[at].slot.size and side.far[at].key != key:
        at = (at + 1) & mask
    return &side.far[at]


cdef int far_put(Side* side, int64_t key, Slot slot) except -1:
    cdef Entry* entry
    cdef Entry* old
    cdef int64_t place, before
    if 2 * side.far_count >= side.far_width:
        old = side.far
        before = side.far_width
        side.far_width = 2 * before if before else 64
        side.far = <Entry*>calloc(side.far_width, sizeof(Entry))
        if side.far == NULL:
            side.far = old
            side.far_width = before
            raise MemoryError
        for place in range(before):
            if old[place].slot.size:
                far_find(side, old[place].key)[0] = old[place]
        free(old)
    entry = far_find(side, key)
    if entry.slot.size == 0:
        side.far_count += 1
        entry.key = key
    entry.slot = slot
    return 0


cdef void far_remove(Side* side, int64_t key) noexcept nogil:
    cdef uint64_t mask = <uint64_t>(side.far_width - 1)
    cdef uint64_t hole, at, home
    if side.far_count == 0:
        return
    hole = far_find(side, key) - side.far
    if side.far[hole].slot.size == 0:
        return
    side.far_count -= 1
    at = hole
    while True:  # what follows moves up, where the hole lies between its home and its place
        at = (at + 1) & mask
        if side.far[at].slot.size == 0:
            break
        home = hashed(side.far[at].key) & mask
        if ((at - home) & mask) >= ((at - hole) & mask):
            side.far[hole] = side.far[at]
            hole = at
    side.far[hole].slot.size = 0


cdef inline int64_t next_below(Side* side, int64_t place) noexcept nogil:
    """The highest occupied place below `place`, -1 where there is none."""
    cdef int64_t word = place >> 6
    cdef int64_t block
    cdef uint64_t found = side.bits[word] & ((<uint64_t>1 << (place & 63)) - 1)
    if found:
        return (word << 6) + highest(found)
    block = word >> 6
    found = side.coarse[block] & ((<uint64_t>1 << (word & 63)) - 1)
    while found == 0:
        block -= 1
        if block < 0:
            return -1
        found = side.coarse[block]
    word = (block << 6) + highest(found)
    return (word << 6) + highest(side.bits[word])


cdef inline void window_put(Side* side, int64_t place, Slot slot) noexcept nogil:
    cdef int64_t word
    if side.slots[place].size == 0:
        word = place >> 6
        side.bits[word] |= <uint64_t>1 << (place & 63)
        side.coarse[word >> 6] |= <uint64_t>1 << (word & 63)
        side.count += 1
        if place > side.best:
            side.best = place
    side.slots[place] = slot


cdef inline void window_remove(Side* side, int64_t place) noexcept nogil:
    cdef int64_t word
    if side.slots[place].size == 0:
        return
    side.slots[place].size = 0
    word = place >> 6
    side.bits[word] &= ~(<uint64_t>1 << (place & 63))
    if side.bits[word] == 0:
        side.coarse[word >> 6] &= ~(<uint64_t>1 << (word & 63))
    side.count -= 1
    if place == side.best:
        side.best = next_below(side, place)


cdef Entry* gathered(Side* side) except NULL:
    """All levels of the side in no order, for the caller to free; the side's own memory is as before."""
    cdef Entry* levels = <Entry*>malloc((side.count + side.far_count + 1) * sizeof(Entry))
    cdef int64_t place, number = 0
    if levels == NULL:
        raise MemoryError
    place = side.best
    while place >= 0:
        levels[number].key = side.base + place
        levels[number].slot = side.slots[place]
        number += 1
        place = next_below(side, place)
    for place in range(side.far_width):
        if side.far[place].slot.size:
            levels[number] = side.far[place]
            number += 1
    return levels


cdef void emptied(Side* side) noexcept:
    """Forget every level; the window keeps its width."""
    cdef int64_t place = side.best
    while place >= 0:
        side.slots[place].size = 0
        place = next_below(side, place)
    memset(side.bits, 0, (side.width // 64 + side.width // 4096 + 1) * sizeof(uint64_t))
    side.count = 0
    side.best = -1
    side.changes = side.beyond = 0
    if side.far_count:
        memset(side.far, 0, side.far_width * sizeof(Entry))
        side.far_count = 0


cdef int resized(Side* side, int64_t width) except -1:
    """Give an empty side a window of another width."""
    cdef Slot* slots = <Slot*>calloc(width, sizeof(Slot))
    cdef uint64_t* bits = <uint64_t*>calloc(width // 64 + width // 4096 + 1, sizeof(uint64_t))
    if slots == NULL or bits == NULL:
        free(slots)
        free(bits)
        raise MemoryError
    free(side.slots)
    free(side.bits)
    side.slots = slots
    side.bits = bits
    side.coarse = bits + width // 64
    side.width = width
    return 0


cdef int rebuilt(Side* side, int64_t top, int64_t width, int64_t factor) except -1:
    """Lay the window anew: three quarters of it below `top` (a key), keys multiplied by `factor`."""
    cdef int64_t count = side.count + side.far_count
    cdef Entry* levels = gathered(side)
    cdef int64_t number, place
    try:
        emptied(side)
        if width != side.width:
            resized(side, width)
        side.base = top - width // 4 * 3
        for number in range(count):
            levels[number].key *= factor
            place = levels[number].key - side.base
            if 0 <= place < width:
                window_put(side, place, levels[number].slot)
            else:
                far_put(side, levels[number].key, levels[number].slot)
    finally:
        free(levels)
    return 0


cdef int64_t far_best(Side* side) noexcept nogil:
    """The highest key beyond the window, of which there is one."""
    cdef int64_t best = 0, place
    cdef bint any_ = False
    for place in range(side.far_width):
        if side.far[place].slot.size and (not any_ or side.far[place].key > best):
            best = side.far[place].key
            any_ = True
    return best


cdef inline int change(Side* side, int64_t key, Slot slot) except -1:
    """Set the level of `key`, or remove it where the size is 0."""
    cdef int64_t place = key - side.base
    if <uint64_t>place < <uint64_t>side.width:
        if slot.size:
            window_put(side, place, slot)
        else:
            window_remove(side, place)
            if side.best < 0 and side.far_count:
                rebuilt(side, far_best(side), side.width, 1)
        return 0
    return change_beyond(side, key, slot)


cdef int change_beyond(Side* side, int64_t key, Slot slot) except -1:
    if slot.size == 0:
        if key < side.base:
            far_remove(side, key)
        return 0
    if key > side.base or side.best < 0:
        rebuilt(side, key, side.width, 1)
        window_put(side, key - side.base, slot)
        return 0
    far_put(side, key, slot)
    side.beyond += 1
    if side.beyond == FEW and side.width < MOST_WIDTH:
        if side.changes < 16 * FEW:
            rebuilt(side, side.base + side.best, 4 * side.width, 1)
        side.changes = side.beyond = 0
    return 0


cdef inline bint same(const Slot* one, const Slot* other) noexcept nogil:
    return one.size == other.size and one.price_places == other.price_places and one.size_places == other.size_places


cdef int reachable(Side* side, Py_ssize_t depth) except -1:
    """Bring the best `depth` levels into the window, as far as its bound allows."""
    while side.count < depth and side.far_count:
        if side.best < side.width // 2:
            rebuilt(side, side.base + side.best, side.width, 1)
        elif side.width < MOST_WIDTH:
            rebuilt(side, side.base + side.best, 4 * side.width, 1)
        else:
            break
    return 0


cdef int best_first(const void* one, const void* other) noexcept nogil:
    cdef int64_t first = (<const Entry*>one).key, second = (<const Entry*>other).key
    return (first < second) - (first > second)


cdef inline void unseen(Side* side, int place, int count) noexcept:
    """Forget `count` told levels from `place` on."""
    cdef int number
    for number in range(place, place + count):
        Py_XDECREF(side.seen[number].level)
    side.seen_count -= count
    memmove(&side.seen[place], &side.seen[place + count], (side.seen_count - place) * sizeof(Seen))


@cython.final
cdef class TickBook:
    """The compiled form of a `Book`."""

    cdef Side[2] sides  # bids, asks
    cdef int places
    cdef readonly object text  # the pure form, where the numbers of this one do not hold the book

    def __cinit__(self):
        memset(self.sides, 0, sizeof(self.sides))
        for number in range(2):
            self.sides[number].best = -1
            resized(&self.sides[number], LEAST_WIDTH)

    def __dealloc__(self):
        for number in range(2):
            unseen(&self.sides[number], 0, self.sides[number].seen_count)
            free(self.sides[number].slots)
            free(self.sides[number].bits)
            free(self.sides[number].far)

    def clear(self):
        emptied(&self.sides[0])
        emptied(&self.sides[1])
        self.refined(0)
        self.text = None

    def replace(self, bids, asks):
        self.clear()
        self.apply(bids, asks)

    def apply(self, bids, asks):
        cdef Py_ssize_t count = 0
        if self.text is None:
            if self.read_pairs(bids, 1, &count) and self.read_pairs(asks, -1, &count):
                self.change_all(count)
                return
            self.become_text()
        self.text.apply(bids, asks)

    def truncate(self, depth):
        if self.text is not None:
            self.text.truncate(depth)
        else:
            self.cut(&self.sides[0], depth)
            self.cut(&self.sides[1], depth)

    def bids(self, Py_ssize_t depth):
        return self.text.bids(depth) if self.text is not None else self.told(&self.sides[0], depth)

    def asks(self, Py_ssize_t depth):
        return self.text.asks(depth) if self.text is not None else self.told(&self.sides[1], depth)

    def top(self):
        if self.text is not None:
            return self.text.top()
        return (self.best_level(&self.sides[0]), self.best_level(&self.sides[1]))

    cdef inline object best_level(self, Side* side):
        if side.best < 0:
            return None
        return self.level_at(side, 0, side.base + side.best, &side.slots[side.best])

    def sizes(self):
        if self.text is not None:
            return self.text.sizes()
        return (
            self.sides[0].count + self.sides[0].far_count,
            self.sides[1].count + self.sides[1].far_count,
        )

    def crossed(self):
        return self.text.crossed() if self.text is not None else self.is_crossed()

    cdef inline bint is_crossed(self) noexcept nogil:
        cdef Side* bids = &self.sides[0]
        cdef Side* asks = &self.sides[1]
        return bids.best >= 0 and asks.best >= 0 and bids.base + bids.best >= -(asks.base + asks.best)

    cdef inline int change_all(self, Py_ssize_t count) except -1:
        """Apply what was read."""
        cdef Py_ssize_t number
        cdef Side* side
        for number in range(count):
            side = &self.sides[changes[number].key < 0]
            side.changes += 1
            change(side, changes[number].key, changes[number].slot)
        return 0

    cdef inline bint read_level(self, const Number* price, const Number* size, int sign, Py_ssize_t* count) except -1:
        """Add a change (`sign` 1 for a bid, -1 for an ask); False where it is not one that ticks can hold."""
        cdef Entry* entry
        cdef int64_t ticks = ticks_of(price, self.places)
        if ticks <= 0:
            if ticks != -1 or not self.finer(price, count[0]):
                return False
            ticks = ticks_of(price, self.places)
            if ticks <= 0:
                return False
        if count[0] == changes_room:
            more_changes()
        entry = &changes[count[0]]
        entry.key = sign * ticks
        if not mantissa_of(size, &entry.slot.size, &entry.slot.size_places):
            return False
        entry.slot.price_places = <uint8_t>price.places
        count[0] += 1
        return True

    cdef bint read_pairs(self, object levels, int sign, Py_ssize_t* count) except -1:
        """Add changes given as pairs of texts; False where they are not of the form that ticks can hold."""
        cdef Number price, size
        cdef const char* at
        cdef const char* end
        if type(levels) is not list and type(levels) is not tuple:
            return False
        for level in levels:
            if type(level) is not tuple or len(<tuple>level) != 2:
                return False
            for number, text in enumerate(<tuple>level):
                at = characters_of(text)
                if at == NULL:
                    return False
                end = at + PyUnicode_GET_LENGTH(text)
                if read_number(at, end, &size if number else &price) != end:
                    return False
            if not self.read_level(&price, &size, sign, count):
                return False
        return True

    cdef const char* read_levels(self, const char* at, const char* end, int sign, Py_ssize_t* count) except? NULL:
        """Add changes of a side as a frame has them, `[["price","size"],…]`; returns what follows, NULL where they are not."""
        cdef Number price, size
        if at[0] != 91:  # [
            return NULL
        at += 1
        if at[0] == 93:  # ]
            return at + 1
        while True:
            if at[0] != 91 or at[1] != 34:  # ["
                return NULL
            at = read_number(at + 2, end, &price)
            if at == NULL or at[0] != 34 or at[1] != 44 or at[2] != 34:  # ","
                return NULL
            at = read_number(at + 3, end, &size)
            if at == NULL or at[0] != 34 or at[1] != 93:  # "]
                return NULL
            if not self.read_level(&price, &size, sign, count):
                return NULL
            at += 2
            if at[0] == 44 and price.places and size.places:
                at = self.read_alike(at, end, sign, &price, size.places, count)
            if at[0] == 93:
                return at + 1
            if at[0] != 44:
                return NULL
            at += 1

    cdef inline const char* read_alike(
        self, const char* at, const char* end, int sign, const Number* like, int size_places, Py_ssize_t* count
    ) except NULL:
        """Add those of `,["price","size"]` that are written like the level before, but for the size's whole digits.

        What is guessed right costs no waiting: the processor goes on to the next level while it still reads this one. Returns
        where it came to, at the latest 64 bytes before the end.
        """
        cdef int whole = like.whole_digits, places = like.places, dropped = places - self.places, digits
        cdef uint64_t mantissa, size, ticks
        cdef uint64_t factor = TEN[dropped if dropped > 0 else 0]
        cdef const Side* side = &self.sides[sign < 0]
        cdef uint64_t place
        cdef const char* mark
        cdef Entry* entry
        if whole > 8 or places > 8 or size_places > 8 or dropped < 0 or whole + self.places > 15:
            return at
        while changes_room - count[0] < (end - at) // 10:
            more_changes()
        entry = &changes[count[0]]
        while end - at > 64:
            mark = at + whole + places + 4
            if memcmp(at, b',["', 3) != 0 or at[3 + whole] != 46 or memcmp(mark, b'","', 3) != 0:
                break
            mark += 3
            digits = count_digits(mark)
            if (
                digits == 0
                or digits == 8
                or mark[digits] != 46
                or memcmp(mark + digits + 1 + size_places, b'"]', 2) != 0
                or (mark[0] == 48 and digits > 1)
                or (at[3] == 48 and whole > 1)
                or not known_decimal(at + 3, whole, places, &mantissa)
                or not known_decimal(mark, digits, size_places, &size)
            ):
                break
            ticks = over_ten(mantissa, dropped)
            if ticks == 0 or ticks * factor != mantissa:
                break
            place = <uint64_t>(sign * <int64_t>ticks - side.base)
            if place < <uint64_t>side.width:
                fetch(&side.slots[place])
            entry.key = sign * <int64_t>ticks
            entry.slot.size = <int64_t>size
            entry.slot.price_places = <uint8_t>places
            entry.slot.size_places = <uint8_t>size_places
            entry += 1
            at = mark + digits + size_places + 3
        count[0] = entry - changes
        return at

    cdef bint finer(self, const Number* price, Py_ssize_t count) except -1:
        """Refine the tick to what `price` needs; the `count` changes read so far are refined with it. False where it cannot be."""
        cdef int places = places_of(price)
        cdef int64_t factor
        cdef int64_t most = 0
        cdef Py_ssize_t number
        cdef Entry* levels
        if places > 15:
            return False
        factor = <int64_t>TEN[places - self.places]
        for number in range(count):
            most = max(most, changes[number].key, -changes[number].key)
        for side in range(2):
            levels = gathered(&self.sides[side])
            for number in range(self.sides[side].count + self.sides[side].far_count):
                most = max(most, levels[number].key if side == 0 else -levels[number].key)
            free(levels)
        if most >= <int64_t>TEN[15] // factor:
            return False
        for number in range(count):
            changes[number].key *= factor
        self.refined(places)
        return True

    cdef int refined(self, int places) except -1:
        """Count in ticks of so many places from here on."""
        cdef int64_t factor = <int64_t>TEN[places - self.places] if places > self.places else 1
        cdef Side* side
        self.places = places
        for number in range(2):
            side = &self.sides[number]
            unseen(side, 0, side.seen_count)
            if side.best >= 0:
                rebuilt(side, (side.base + side.best) * factor, side.width, factor)
        return 0

    cdef int become_text(self) except -1:
        text = TextBook()
        text.apply(self.told(&self.sides[0], PY_SSIZE_T_MAX), self.told(&self.sides[1], PY_SSIZE_T_MAX))
        self.clear()
        self.text = text
        return 0

    cdef int cut(self, Side* side, Py_ssize_t depth) except -1:
        """Drop all but the best `depth` levels."""
        cdef Entry* levels
        cdef int64_t count = side.count + side.far_count, place
        cdef Py_ssize_t number
        if count <= depth:
            return 0
        if side.far_count == 0 and depth > 0:
            place = side.best
            for number in range(depth - 1):
                place = next_below(side, place)
            place = next_below(side, place)
            while place >= 0:
                window_remove(side, place)
                place = next_below(side, place)
            return 0
        levels = gathered(side)
        qsort(levels, count, sizeof(Entry), best_first)
        try:
            emptied(side)
            for number in range(depth):
                change(side, levels[number].key, levels[number].slot)
        finally:
            free(levels)
        return 0

    cdef list told(self, Side* side, Py_ssize_t depth):
        """The best levels as pairs of texts; those told before and still the same are the same objects."""
        cdef list levels = []
        cdef int64_t place
        cdef Py_ssize_t number = 0
        cdef Entry* beyond
        if depth <= 0:
            return levels
        if depth > side.count and side.far_count and depth <= MOST_WIDTH:
            reachable(side, depth)
        place = side.best
        while place >= 0 and number < depth:
            levels.append(self.level_at(side, number, side.base + place, &side.slots[place]))
            number += 1
            place = next_below(side, place)
        if number < depth and side.far_count:
            beyond = gathered(side)
            qsort(beyond, side.count + side.far_count, sizeof(Entry), best_first)
            try:
                while number < depth and number < side.count + side.far_count:
                    levels.append(self.level_at(side, number, beyond[number].key, &beyond[number].slot))
                    number += 1
            finally:
                free(beyond)
        return levels

    cdef inline object level_at(self, Side* side, Py_ssize_t number, int64_t key, const Slot* slot):
        """The level told as the `number`-th best, remembered for the next time."""
        cdef Seen* seen
        cdef int stale = 0
        cdef bint found
        if number >= SEEN:
            return self.level(key, slot)
        while number + stale < side.seen_count and side.seen[number + stale].key > key:
            stale += 1
        if stale:
            unseen(side, number, stale)
        seen = &side.seen[number]
        found = number < side.seen_count and seen.key == key
        if found and same(&seen.slot, slot):
            return <object>seen.level
        level = self.level(key, slot)
        if found:
            Py_XDECREF(seen.level)
        else:
            if side.seen_count == SEEN:
                unseen(side, SEEN - 1, 1)
            memmove(seen + 1, seen, (side.seen_count - number) * sizeof(Seen))
            side.seen_count += 1
        Py_INCREF(level)
        seen.key = key
        seen.slot = slot[0]
        seen.level = <PyObject*>level
        return level

    cdef inline uint64_t price_mantissa(self, int64_t key, const Slot* slot) noexcept nogil:
        """The price with the decimal places that it was written with."""
        cdef uint64_t ticks = <uint64_t>(key if key > 0 else -key)
        cdef int more = slot.price_places - self.places
        return ticks * TEN[more] if more >= 0 else over_ten(ticks, -more)

    cdef tuple level(self, int64_t key, const Slot* slot):
        return (
            text_of(self.price_mantissa(key, slot), slot.price_places),
            text_of(<uint64_t>slot.size, slot.size_places),
        )


@cython.final
cdef class TickCounts:
    """The compiled form of `BookCounts`, with the same fields."""

    cdef public int64_t messages, updates, duplicates, gaps, resyncs
    cdef public int64_t checksums_matched, checksums_mismatched
    cdef public int64_t tops_checked, tops_mismatched, malformed, crossed
