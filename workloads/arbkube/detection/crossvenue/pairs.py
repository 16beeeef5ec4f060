"""Cross-venue: buy a base asset on one feed, sell as much of it on another.

For: which markets are paired, the edge of a pair's best levels, and the exact size of a chance. May not: keep episodes.

Both legs have the same base quantity q, a common multiple of their lots. A fee taken from the bought base leaves us short by as
much; it counts as what buying it back at the walked limit costs, that purchase's fee included. In the profit asset,

    profit(q)   = α · (proceeds(q) − fee) − β · (cost(q) + fee)        notional(q) = ν · cost(q)

With one quote asset only the net is converted: α = β = what selling a unit of it brings. With two, α is what selling the one
brings and β what buying the other costs. ν is always what buying costs.

The size is the q that makes `profit` largest among those whose average edge profit/notional is at least `enterEdge`, within
the levels given, `maxNotional`, the balances, and the minima of both legs and of their unwinds. Between two levels' ends
each of these is linear in q, so that looking at the first and last allowed q of every stretch finds it exactly.
"""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from math import lcm

from arbkube.detection.books import Book
from arbkube.detection.conversion import Conversion, Rates
from arbkube.detection.ladder import ONE, ZERO, divide_up, down, steps_up, up
from arbkube.detection.model import Balances, SkipReason
from arbkube.detection.sizing import Sized, least_unwindable, lock_rate, sized_leg, spendable
from arbkube.market.instruments import Side
from arbkube.resources.kinds import CrossVenue


def paired(books: list[Book], strategy: CrossVenue) -> Iterator[tuple[Book, Book]]:
    """Every two markets of one base on two feeds, of which the strategy names at least one. Each pair once, in order."""
    named = set(strategy.instruments)
    for number, first in enumerate(books):
        for second in books[number + 1 :]:
            if first.base == second.base and first.feed is not second.feed and {first.symbol, second.symbol} & named:
                yield first, second


def common_step(first: Decimal, second: Decimal) -> Decimal:
    """The smallest quantity that is a multiple of both lots."""
    one, two = first.as_integer_ratio(), second.as_integer_ratio()
    scale = lcm(one[1], two[1])
    return Decimal(lcm(one[0] * (scale // one[1]), two[0] * (scale // two[1]))) / scale


class Pair:
    """One direction of a pair: buy on `buy`, sell on `sell`."""

    __slots__ = ("buy", "buy_quote", "converts", "of_one_kind", "same_quote", "sell", "sell_quote", "step")

    def __init__(self, buy: Book, sell: Book, buy_quote: Conversion, sell_quote: Conversion) -> None:
        self.buy = buy
        self.sell = sell
        self.buy_quote = buy_quote
        self.sell_quote = sell_quote
        self.same_quote = buy_quote is sell_quote
        self.converts = not (self.same_quote and buy_quote.identical)
        self.of_one_kind = buy.spot == sell.spot
        self.step = common_step(buy.market.instrument.lot, sell.market.instrument.lot)

    def edge(self) -> float:
        """Net edge of the best levels, conversion included, as a fraction: no size can have a better one."""
        buy, sell = self.buy, self.sell
        if not self.converts:
            return (sell.gain - buy.cost) / buy.ask
        if self.same_quote:
            return (sell.gain - buy.cost) / buy.ask * (self.buy_quote.sell / self.buy_quote.buy)
        return (sell.gain * self.sell_quote.sell / self.buy_quote.buy - buy.cost) / buy.ask

    def convertible(self, now_ns: int) -> bool:
        """Whether both quotes can be counted in the profit asset."""
        return self.buy_quote.possible(now_ns) and self.sell_quote.possible(now_ns)

    def size(self, *, enter_edge: Decimal, max_notional: Decimal, balances: Balances | None, now_ns: int) -> Sized | SkipReason:
        """The best quantity, or why there is none. `balances` None: as if there were enough."""
        buy_rates, sell_rates = self.buy_quote.rates(now_ns), self.sell_quote.rates(now_ns)
        if buy_rates is None or sell_rates is None:
            return SkipReason.NO_CONVERSION
        beta = sell_rates.sell if self.same_quote else buy_rates.buy
        quantity = self._best(enter_edge, max_notional, balances, buy_rates, sell_rates, beta)
        if isinstance(quantity, SkipReason):
            return quantity
        bought, sold = sized_leg(self.buy, Side.BUY, quantity), sized_leg(self.sell, Side.SELL, quantity)
        profit = sell_rates.sell * (sold.value - sold.fee) - beta * (bought.value + bought.fee)
        return Sized((bought, sold), up(buy_rates.buy * bought.value), down(profit))

    def _best(
        self,
        enter_edge: Decimal,
        max_notional: Decimal,
        balances: Balances | None,
        buy_rates: Rates,
        sell_rates: Rates,
        beta: Decimal,
    ) -> Decimal | SkipReason:
        buy, sell, step = self.buy, self.sell, self.step
        alpha, nu = sell_rates.sell, buy_rates.buy
        max_notional = min(max_notional, buy_rates.limit)
        asks, bids = buy.ladder(Side.BUY), sell.ladder(Side.SELL)
        buy_rules, sell_rules = buy.market.instrument, sell.market.instrument
        buy_taker, sell_left = buy.taker, ONE - sell.taker
        minimum = max(
            buy_rules.min_quantity,
            sell_rules.min_quantity,
            least_unwindable(buy, Side.BUY),
            least_unwindable(sell, Side.SELL),
        )
        least = max(ONE, steps_up(minimum, step))
        buy_free = sell_free = None
        if balances is not None:
            buy_free = spendable(balances, buy, Side.BUY)
            sell_free = spendable(balances, sell, Side.SELL)
        best = best_profit = ZERO
        orderable = False
        i = j = 0
        begin = ZERO
        while i < len(asks.prices) and j < len(bids.prices):
            ask, bid = asks.prices[i], bids.prices[j]
            end = min(asks.depth[i + 1], bids.depth[j + 1])
            # cost(q) = cost_0 + ask·q and so on, for begin < q ≤ end.
            cost_0 = asks.value[i] - asks.depth[i] * ask
            proceeds_0 = bids.value[j] - bids.depth[j] * bid
            if buy.fee_from_base:
                buy_back = divide_up(ask, ONE - buy_taker)
                fee_0, fee_1 = (i + 1) * asks.unit * buy_back, buy_taker * buy_back
            else:
                fee_0, fee_1 = cost_0 * buy_taker + (i + 1) * asks.unit, ask * buy_taker
            profit_0 = alpha * (proceeds_0 * sell_left - (j + 1) * bids.unit) - beta * (cost_0 + fee_0)
            profit_1 = alpha * bid * sell_left - beta * (ask + fee_1)
            first = max(begin // step + 1, least)
            first = max(first, steps_up(buy_rules.min_notional, ask * step), steps_up(sell_rules.min_notional, bid * step))
            last = min(
                end // step,
                (max_notional - nu * cost_0) // (nu * ask * step),
                (sell_rates.limit - alpha * proceeds_0) // (alpha * bid * step),
            )
            if buy_free is not None and sell_free is not None:
                last = min(last, buy_free // (lock_rate(buy, Side.BUY, ask) * step))
                last = min(last, sell_free // (lock_rate(sell, Side.SELL, bids.prices[0]) * step))
            if first <= last:
                orderable = True
                # excess(q) = profit(q) − enterEdge · notional(q)
                excess_0 = profit_0 - enter_edge * nu * cost_0
                excess_1 = profit_1 - enter_edge * nu * ask
                steps = self._most_within(first, last, excess_0, excess_1 * step) if profit_1 >= 0 else first
                if steps is not None and excess_0 + excess_1 * steps * step >= 0:
                    profit = profit_0 + profit_1 * steps * step
                    if profit > best_profit:
                        best, best_profit = steps * step, profit
                if profit_1 < 0:
                    break  # and so it is for every later stretch
            begin = end
            if asks.depth[i + 1] == end:
                i += 1
            if bids.depth[j + 1] == end:
                j += 1
        if best > ZERO:
            return best
        return SkipReason.BELOW_ENTER_EDGE if orderable else SkipReason.BELOW_MINIMUM

    @staticmethod
    def _most_within(first: Decimal, last: Decimal, excess_0: Decimal, excess_1: Decimal) -> Decimal | None:
        """The largest number of steps between `first` and `last` at which the linear excess is not negative."""
        if excess_0 + excess_1 * last >= 0:
            return last
        if excess_1 >= 0:
            return None
        steps = excess_0 // -excess_1 if excess_0 > 0 else ZERO
        return steps if steps >= first else None
