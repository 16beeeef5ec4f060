# Decimal numbers as text: read from the wire into integers, and written back exactly as they came.
#
# A number here is what JSON calls one without sign and exponent: `0` or digits without a leading zero, and where there is a
# point at least one digit after it. Such a text and the pair (mantissa, places) say the same, so that either gives the other.
# Whatever is not of that form is refused: the pure form then judges it.
# Readers take a pointer into memory that ends with a zero byte, which no part of a number matches.

cdef extern from *:
    """
    #include <stdint.h>
    #include <string.h>
    #if defined(_MSC_VER)
    #include <intrin.h>
    static inline int arb_highest(uint64_t word) { unsigned long at; _BitScanReverse64(&at, word); return (int)at; }
    #else
    static inline int arb_highest(uint64_t word) { return 63 - __builtin_clzll(word); }
    #endif
    static const uint64_t ARB_TEN[19] = {
        1ULL, 10ULL, 100ULL, 1000ULL, 10000ULL, 100000ULL, 1000000ULL, 10000000ULL, 100000000ULL, 1000000000ULL,
        10000000000ULL, 100000000000ULL, 1000000000000ULL, 10000000000000ULL, 100000000000000ULL, 1000000000000000ULL,
        10000000000000000ULL, 100000000000000000ULL, 1000000000000000000ULL};
    /* Division by a constant is a multiplication. */
    static inline uint64_t arb_over_ten(uint64_t value, int power) {
        switch (power) {
            case 0: return value;
            case 1: return value / 10ULL;
            case 2: return value / 100ULL;
            case 3: return value / 1000ULL;
            case 4: return value / 10000ULL;
            case 5: return value / 100000ULL;
            case 6: return value / 1000000ULL;
            case 7: return value / 10000000ULL;
            case 8: return value / 100000000ULL;
            default: return value / ARB_TEN[power];
        }
    }
    """
    int highest "arb_highest"(uint64_t word) noexcept nogil
    const uint64_t[19] TEN "ARB_TEN"
    uint64_t over_ten "arb_over_ten"(uint64_t value, int power) noexcept nogil


cdef enum:
    ROUND = 128
    LONGEST = 40  # characters of a number


cdef struct Number:
    uint64_t whole
    uint64_t fraction
    int whole_digits
    int places


cdef inline const char* read_number(const char* at, Number* number) noexcept nogil:
    """Read a number; returns what follows it, or NULL where there is none of the form above, or one of too many digits."""
    cdef const char* begin = at
    cdef uint64_t value = 0
    cdef unsigned int digit = <unsigned char>at[0] - 48
    cdef int digits
    if digit > 9:
        return NULL
    if digit == 0 and <unsigned int>(<unsigned char>at[1] - 48) <= 9:
        return NULL
    while digit <= 9:
        value = value * 10 + digit
        at += 1
        digit = <unsigned char>at[0] - 48
    digits = <int>(at - begin)
    if digits > 18:
        return NULL
    number.whole = value
    number.whole_digits = digits
    number.fraction = 0
    number.places = 0
    if at[0] != 46:
        return at
    at += 1
    begin = at
    value = 0
    digit = <unsigned char>at[0] - 48
    while digit <= 9:
        value = value * 10 + digit
        at += 1
        digit = <unsigned char>at[0] - 48
    number.places = <int>(at - begin)
    if number.places == 0 or number.places > 18:
        return NULL
    number.fraction = value
    return at


cdef inline bint mantissa_of(const Number* number, int64_t* mantissa, uint8_t* places) noexcept nogil:
    """The number as one integer and its places. One too long for that is held where its fraction is zero, flagged ROUND."""
    if number.whole_digits + number.places <= 18:
        mantissa[0] = <int64_t>(number.whole * TEN[number.places] + number.fraction)
        places[0] = <uint8_t>number.places
        return True
    if number.fraction == 0:
        mantissa[0] = <int64_t>number.whole
        places[0] = <uint8_t>(number.places | ROUND)
        return True
    return False


cdef inline const char* read_integer(const char* at, int64_t* value) noexcept nogil:
    """Read an integer from 0 on; returns what follows it, or NULL."""
    cdef Number number
    at = read_number(at, &number)
    if at == NULL or number.places:
        return NULL
    value[0] = <int64_t>number.whole
    return at


cdef inline char* write_number(char* to, uint64_t mantissa, int places) noexcept nogil:
    """Write a number as it was read; returns the place after it. `to` has room for LONGEST characters."""
    cdef char[24] digits
    cdef int length = 0
    cdef int zeros = 0
    if places & ROUND:
        zeros = places - ROUND
        places = 0
    while mantissa:
        digits[length] = <char>(48 + mantissa % 10)
        mantissa = mantissa // 10
        length += 1
    while length <= places:
        digits[length] = 48
        length += 1
    while length:
        if length == places:
            to[0] = 46
            to += 1
        length -= 1
        to[0] = digits[length]
        to += 1
    if zeros:
        to[0] = 46
        memset(to + 1, 48, zeros)
        to += 1 + zeros
    return to


cdef inline str text_of(uint64_t mantissa, int places):
    cdef char[LONGEST] buffer
    cdef Py_ssize_t length = write_number(buffer, mantissa, places) - buffer
    cdef str text = PyUnicode_New(length, 127)
    memcpy(PyUnicode_DATA(text), buffer, length)
    return text


cdef inline const char* characters_of(object text) noexcept:
    """The bytes of a str of ASCII, or NULL for anything else."""
    if PyUnicode_CheckExact(text) and PyUnicode_IS_COMPACT_ASCII(text):
        return <const char*>PyUnicode_DATA(text)
    return NULL
