# Decimal numbers as text: read from the wire into integers, and written back exactly as they came.
#
# A number here is what JSON calls one without sign and exponent: `0` or digits without a leading zero, and where there is a
# point at least one digit after it. Such a text and the pair (mantissa, places) say the same, so that either gives the other.
# Whatever is not of that form is refused: the pure form then judges it.
# Readers take a pointer into memory that has a zero byte at `end`, which no part of a number matches.

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
    #if defined(__GNUC__) && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    /* Up to eight digits at once, without a branch for each: how many there are, and what they say. */
    static inline int arb_eight(const char* at, uint64_t* value) {
        uint64_t word, digits, others;
        int count;
        memcpy(&word, at, 8);
        digits = word ^ 0x3030303030303030ULL;
        others = ((digits + 0x7676767676767676ULL) | digits) & 0x8080808080808080ULL; /* exact up to the first other byte */
        count = others ? __builtin_ctzll(others) >> 3 : 8;
        if (count == 0) return 0;
        digits <<= 64 - 8 * count;
        digits = (digits * 2561 >> 8) & 0x00FF00FF00FF00FFULL;
        digits = (digits * 6553601 >> 16) & 0x0000FFFF0000FFFFULL;
        *value = digits * 42949672960001ULL >> 32;
        return count;
    }
    static inline int arb_converted(uint64_t digits, uint64_t* value) {
        uint64_t others = ((digits + 0x7676767676767676ULL) | digits) & 0x8080808080808080ULL;
        digits = (digits * 2561 >> 8) & 0x00FF00FF00FF00FFULL;
        digits = (digits * 6553601 >> 16) & 0x0000FFFF0000FFFFULL;
        *value = digits * 42949672960001ULL >> 32;
        return others == 0;
    }
    /* `whole` digits, a point (which is not looked at) and `places` digits, 1 to 8 each, as one integer; whether they are digits. */
    static inline int arb_known(const char* at, int whole, int places, uint64_t* mantissa) {
        uint64_t digits, fraction;
        memcpy(&digits, at, 8);
        digits ^= 0x3030303030303030ULL;
        if (whole + places < 8) {
            const int bits = 8 * whole;
            digits = (digits & ((1ULL << bits) - 1)) | (digits >> (bits + 8) << bits);
            return arb_converted(digits << (64 - bits - 8 * places), mantissa);
        }
        if (!arb_converted(digits << (64 - 8 * whole), mantissa)) return 0;
        memcpy(&digits, at + whole + 1, 8);
        if (!arb_converted((digits ^ 0x3030303030303030ULL) << (64 - 8 * places), &fraction)) return 0;
        *mantissa = *mantissa * ARB_TEN[places] + fraction;
        return 1;
    }
    /* How many digits there are, 8 where there may be more. */
    static inline int arb_count(const char* at) {
        uint64_t digits;
        memcpy(&digits, at, 8);
        digits ^= 0x3030303030303030ULL;
        digits = ((digits + 0x7676767676767676ULL) | digits) & 0x8080808080808080ULL;
        return digits ? __builtin_ctzll(digits) >> 3 : 8;
    }
    #define ARB_EIGHT 8
    #define arb_fetch(at) __builtin_prefetch(at, 1)
    #else
    static inline int arb_eight(const char* at, uint64_t* value) { (void)at; (void)value; return 9; }
    static inline int arb_known(const char* at, int whole, int places, uint64_t* mantissa) {
        (void)at; (void)whole; (void)places; (void)mantissa; return 0; }
    static inline int arb_count(const char* at) { (void)at; return 8; }
    #define ARB_EIGHT PY_SSIZE_T_MAX
    #define arb_fetch(at) ((void)0)
    #endif
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
    int eight_digits "arb_eight"(const char* at, uint64_t* value) noexcept nogil
    bint known_decimal "arb_known"(const char* at, int whole, int places, uint64_t* mantissa) noexcept nogil
    int count_digits "arb_count"(const char* at) noexcept nogil
    const Py_ssize_t EIGHT "ARB_EIGHT"  # bytes that must be there for it
    void fetch "arb_fetch"(const void* at) noexcept nogil
    uint64_t over_ten "arb_over_ten"(uint64_t value, int power) noexcept nogil


cdef enum:
    ROUND = 128
    LONGEST = 40  # characters of a number


cdef struct Number:
    uint64_t whole
    uint64_t fraction
    int whole_digits
    int places


cdef inline const char* read_digits(const char* at, const char* end, uint64_t* value, int* count) noexcept nogil:
    """Read digits, as many as there are; returns what follows. More than 18 give no meaningful value."""
    cdef unsigned int digit
    cdef const char* begin = at
    value[0] = 0
    if end - at >= EIGHT:
        count[0] = eight_digits(at, value)
        if count[0] < 8:
            return at + count[0]
        at += 8
    digit = <unsigned char>at[0] - 48
    while digit <= 9:
        value[0] = value[0] * 10 + digit
        at += 1
        digit = <unsigned char>at[0] - 48
    count[0] = <int>(at - begin)
    return at


cdef inline const char* read_number(const char* at, const char* end, Number* number) noexcept nogil:
    """Read a number; returns what follows it, or NULL where there is none of the form above, or one of too many digits."""
    cdef bint zero = at[0] == 48
    at = read_digits(at, end, &number.whole, &number.whole_digits)
    if not 0 < number.whole_digits <= 18 or (zero and number.whole_digits > 1):
        return NULL
    number.fraction = 0
    number.places = 0
    if at[0] != 46:
        return at
    at = read_digits(at + 1, end, &number.fraction, &number.places)
    if not 0 < number.places <= 18:
        return NULL
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


cdef inline const char* read_integer(const char* at, const char* end, int64_t* value) noexcept nogil:
    """Read an integer from 0 on; returns what follows it, or NULL."""
    cdef bint zero = at[0] == 48
    cdef uint64_t whole
    cdef int digits
    at = read_digits(at, end, &whole, &digits)
    if not 0 < digits <= 18 or (zero and digits > 1) or at[0] == 46:
        return NULL
    value[0] = <int64_t>whole
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


def multiplied(text, uint64_t coefficient, int places, /):
    """The number in `text` times coefficient × 10^-places, with the decimal places of both; None where 64 bits do not do."""
    cdef Number number
    cdef int64_t mantissa
    cdef uint8_t before
    cdef const char* at = characters_of(text)
    cdef const char* end
    if at == NULL or places < 0:
        return None
    end = at + PyUnicode_GET_LENGTH(text)
    if read_number(at, end, &number) != end or not mantissa_of(&number, &mantissa, &before) or before & ROUND:
        return None
    if coefficient == 0 or <uint64_t>mantissa >= TEN[18] // coefficient or before + places > 18:
        return None
    return text_of(<uint64_t>mantissa * coefficient, before + places)
