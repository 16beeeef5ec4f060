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
