# CRC32 (of zlib, PNG and Ethernet), eight bytes a step, and the texts that venues take it of.

cdef extern from *:
    """
    static uint32_t ARB_CRC[8][256];
    static void arb_crc_tables(void) {
        for (uint32_t byte = 0; byte < 256; byte++) {
            uint32_t value = byte;
            for (int bit = 0; bit < 8; bit++) value = value >> 1 ^ (value & 1 ? 0xEDB88320u : 0);
            ARB_CRC[0][byte] = value;
        }
        for (int table = 1; table < 8; table++)
            for (int byte = 0; byte < 256; byte++)
                ARB_CRC[table][byte] = ARB_CRC[table - 1][byte] >> 8 ^ ARB_CRC[0][ARB_CRC[table - 1][byte] & 255];
    }
    static uint32_t arb_crc32(const char* text, size_t length) {
        const unsigned char* at = (const unsigned char*)text;
        uint32_t crc = 0xFFFFFFFFu;
        for (; length >= 8; at += 8, length -= 8) {
            crc ^= at[0] | at[1] << 8 | at[2] << 16 | (uint32_t)at[3] << 24;
            crc = ARB_CRC[7][crc & 255] ^ ARB_CRC[6][crc >> 8 & 255] ^ ARB_CRC[5][crc >> 16 & 255] ^ ARB_CRC[4][crc >> 24]
                ^ ARB_CRC[3][at[4]] ^ ARB_CRC[2][at[5]] ^ ARB_CRC[1][at[6]] ^ ARB_CRC[0][at[7]];
        }
        while (length--) crc = crc >> 8 ^ ARB_CRC[0][(crc ^ *at++) & 255];
        return ~crc;
    }
    """
    void crc_tables "arb_crc_tables"() noexcept nogil
    uint32_t crc32 "arb_crc32"(const char* text, size_t length) noexcept nogil

crc_tables()


cdef char* write_whole(char* to, uint64_t value, int places) noexcept nogil:
    """A number without its point and leading zeros."""
    to = write_number(to, value, 0)
    if places & ROUND:
        memset(to, 48, places - ROUND)
        to += places - ROUND
    return to
