# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False, cdivision=True
# cython: infer_types=False, binding=False
"""The compiled kernel, in one unit so that its parts inline into each other. See docs/kernel.md."""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.object cimport PyObject
from cpython.ref cimport Py_INCREF, Py_XDECREF
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc, qsort, realloc
from libc.string cimport memcmp, memcpy, memmove, memset

from arbkube.market.book import TextBook

cdef double NOWHERE = float("-inf")

cdef extern from "Python.h":
    str PyUnicode_New(Py_ssize_t length, Py_UCS4 most)
    void* PyUnicode_DATA(object text) noexcept
    bint PyUnicode_IS_COMPACT_ASCII(object text) noexcept
    bint PyUnicode_CheckExact(object text) noexcept
    Py_ssize_t PyUnicode_GET_LENGTH(object text) noexcept
    Py_ssize_t PY_SSIZE_T_MAX

include "decimals.pxi"
include "ticks.pxi"
include "layout.pxi"
include "checksum.pxi"
include "rings.pxi"
include "walk.pxi"
include "scanner.pxi"
include "venues/binance.pxi"
include "venues/bybit.pxi"
include "venues/coinbase.pxi"
include "venues/kraken.pxi"
include "venues/okx.pxi"
