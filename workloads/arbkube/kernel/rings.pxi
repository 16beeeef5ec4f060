# Scoring rings: the sum of the logarithms of a ring's rates, for every ring through one hop.

@cython.final
cdef class RingScores:
    """The compiled form of `Scores`."""

    cdef double* weights  # by hop; the last one weighs nothing
    cdef int32_t** others  # by hop, three places in `weights` for each of its rings
    cdef Py_ssize_t* counts
    cdef Py_ssize_t hops

    def __cinit__(self, through):
        """`through` holds, by hop, its rings' three other places."""
        cdef Py_ssize_t hop, ring
        cdef int place
        self.hops = len(through)
        self.weights = <double*>malloc((self.hops + 1) * sizeof(double))
        self.others = <int32_t**>calloc(self.hops + 1, sizeof(int32_t*))
        self.counts = <Py_ssize_t*>calloc(self.hops + 1, sizeof(Py_ssize_t))
        if self.weights == NULL or self.others == NULL or self.counts == NULL:
            raise MemoryError
        for hop in range(self.hops):
            self.weights[hop] = NOWHERE
            rings = through[hop]
            self.others[hop] = <int32_t*>malloc((3 * len(rings) + 1) * sizeof(int32_t))
            if self.others[hop] == NULL:
                raise MemoryError
            self.counts[hop] = len(rings)
            for ring in range(self.counts[hop]):
                for place in range(3):
                    other = rings[ring][place]
                    if not 0 <= other <= self.hops:
                        raise IndexError(other)
                    self.others[hop][3 * ring + place] = other
        self.weights[self.hops] = 0.0

    def __dealloc__(self):
        cdef Py_ssize_t hop
        if self.others != NULL:
            for hop in range(self.hops):
                free(self.others[hop])
        free(self.others)
        free(self.weights)
        free(self.counts)

    def weigh(self, Py_ssize_t hop, double weight, /):
        if not 0 <= hop < self.hops:
            raise IndexError(hop)
        self.weights[hop] = weight

    def glance(self, Py_ssize_t hop, double threshold, double record, /):
        cdef Py_ssize_t ring, place = -1, unknown = 0
        cdef int32_t* other
        cdef double best = NOWHERE, score, own
        cdef dict promising = {}
        if not 0 <= hop < self.hops or self.counts[hop] == 0:
            raise IndexError(hop)
        own = self.weights[hop]
        other = self.others[hop]
        for ring in range(self.counts[hop]):
            score = own + self.weights[other[0]] + self.weights[other[1]] + self.weights[other[2]]
            other += 3
            if score > best:
                best = score
                place = ring
            if score == NOWHERE:
                unknown += 1
            elif score >= threshold:
                promising[ring] = score
        return (best, place if record < best < threshold else -1, unknown, promising)
