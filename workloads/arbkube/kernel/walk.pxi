# Walking the ladders of a cycle at once, in floats: the same operations in the same order as the pure form's.

cdef struct Leg:
    Py_ssize_t level
    double ratio  # base units of this leg for one of the first
    double left  # of the level
    double done
    bint ended


@cython.boundscheck(True)
@cython.cdivision(False)
def walk(list links not None, double enter, double max_notional, double slack, /):
    """Profit and, by leg, quantity at each point where the marginal rate changes; None where nothing can be gained."""
    cdef Py_ssize_t legs = len(links), leg
    cdef list depth = [link.depth for link in links]
    cdef list pay_rate = [link.pay_rate for link in links]
    cdef list get_rate = [link.get_rate for link in links]
    cdef list locks = [link.locks for link in links]
    cdef list values = links[0].values
    cdef list profits = [0.0]
    cdef list quantities = [[0.0] for _ in links]
    cdef Leg* at = <Leg*>calloc(legs, sizeof(Leg))
    cdef double profit = 0.0, notional = 0.0, best = 0.0, gain, value, step, most
    cdef bint ended, over
    if at == NULL:
        raise MemoryError
    try:
        for leg in range(legs):
            at[leg].left = (<list?>depth[leg])[1]
        while True:
            at[0].ratio = 1.0
            for leg in range(1, legs):
                gain = at[leg - 1].ratio * <double>(<list?>get_rate[leg - 1])[at[leg - 1].level]
                at[leg].ratio = gain / <double>(<list?>pay_rate[leg])[at[leg].level]
            gain = at[legs - 1].ratio * <double>(<list?>get_rate[legs - 1])[at[legs - 1].level]
            gain = gain - <double>(<list?>pay_rate[0])[at[0].level]
            value = values[at[0].level]
            step = (max_notional - notional) / value
            for leg in range(legs):
                most = at[leg].left / at[leg].ratio
                if most < step:
                    step = most
                if locks[leg] is not None:
                    most = (<double>(<list?>locks[leg])[at[leg].level] - at[leg].done) / at[leg].ratio
                    if most < step:
                        step = most
            if step <= 0.0:
                break
            profit += gain * step
            notional += value * step
            profits.append(profit)
            if profit > best:
                best = profit
            ended = False
            for leg in range(legs):
                at[leg].done += at[leg].ratio * step
                at[leg].left -= at[leg].ratio * step
                (<list>quantities[leg]).append(at[leg].done)
                at[leg].ended = at[leg].left <= slack * at[leg].done
                ended = ended or at[leg].ended
            if not ended or profit < enter * notional:
                break
            over = False
            for leg in range(legs):
                if at[leg].ended:
                    at[leg].level += 1
                    over = over or at[leg].level == len(<list>pay_rate[leg])
            if over:
                break
            for leg in range(legs):
                if at[leg].ended:
                    at[leg].left = (
                        <double>(<list>depth[leg])[at[leg].level + 1] - <double>(<list>depth[leg])[at[leg].level]
                    )
    finally:
        free(at)
    return (profits, quantities) if best > 0.0 else None
