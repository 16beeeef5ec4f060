# JSON by its layout: a frame is compared with what the venue always sends, and only its numbers are read.
#
# A message that a machine writes has its fields in one order, without spaces. What differs in any byte is refused, and then goes
# the pure form's way, which reads any JSON: a venue that changes its layout costs speed, never correctness.
# All readers return what follows, or NULL, and stop at `end` or the zero byte that every bytes object has there. Each accepts NULL,
# so that calls can be chained and looked at once.

cdef inline const char* literal(const char* at, const char* end, const char* text, Py_ssize_t length) noexcept nogil:
    if at == NULL or end - at < length or memcmp(at, text, length) != 0:
        return NULL
    return at + length


cdef inline const char* integer(const char* at, const char* end, int64_t* value) noexcept nogil:
    return NULL if at == NULL else read_integer(at, end, value)


cdef inline const char* plain(const char* at) noexcept nogil:
    """The rest of a string, its closing quote included: printable ASCII without escapes."""
    if at == NULL:
        return NULL
    while 32 <= <unsigned char>at[0] < 127 and at[0] != 34 and at[0] != 92:
        at += 1
    return at + 1 if at[0] == 34 else NULL


cdef inline const char* boolean(const char* at, const char* end) noexcept nogil:
    cdef const char* after = literal(at, end, b"true", 4)
    return literal(at, end, b"false", 5) if after == NULL else after


cdef inline const char* signed_integer(const char* at, const char* end, int64_t* value) noexcept nogil:
    cdef bint negative = at != NULL and at[0] == 45
    at = integer(at + 1 if negative else at, end, value)
    if negative:
        value[0] = -value[0]
    return at


cdef inline const char* two_digits(const char* at, const char* end, int least, int most, int* value) noexcept nogil:
    if at == NULL or end - at < 2 or not (48 <= at[0] <= 57 and 48 <= at[1] <= 57):
        return NULL
    value[0] = 10 * (at[0] - 48) + at[1] - 48
    return at + 2 if least <= value[0] <= most else NULL


cdef const char* moment(const char* at, const char* end, int64_t* ns) noexcept nogil:
    """A time as `2026-09-21T14:15:48.050000Z`, its quote included, in nanoseconds since 1970, rounded to microseconds.

    Rounded half up, as the pure form's decoder does, and of the three centuries around ours. The days of a month are counted from March on, so that a leap day is the
    last of a year.
    """
    cdef int century, year, month, day, hour, minute, second
    cdef int64_t fraction = 0, since
    cdef uint64_t digits
    cdef int places = 0
    cdef const char* begin
    at = two_digits(two_digits(at, end, 19, 21, &century), end, 0, 99, &year)
    at = two_digits(literal(at, end, b"-", 1), end, 1, 12, &month)
    at = two_digits(literal(at, end, b"-", 1), end, 1, 28, &day)
    at = two_digits(literal(at, end, b"T", 1), end, 0, 23, &hour)
    at = two_digits(literal(at, end, b":", 1), end, 0, 59, &minute)
    at = two_digits(literal(at, end, b":", 1), end, 0, 59, &second)
    if at == NULL:
        return NULL
    if at[0] == 46:
        begin = at + 1
        at = read_digits(begin, end, &digits, &places)
        if not 1 <= places <= 9:
            return NULL
        fraction = <int64_t>(digits * TEN[9 - places])
    year += 100 * century
    if month < 3:
        month += 12
        year -= 1
    since = 365 * year + year // 4 - year // 100 + year // 400 + (153 * month - 457) // 5 + day - 719469
    since = ((since * 24 + hour) * 60 + minute) * 60 + second
    ns[0] = (since * 1000000 + (fraction + 500) // 1000) * 1000
    return literal(at, end, b'Z"', 2)
