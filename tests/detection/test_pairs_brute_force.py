"""Cross-venue sizing against brute force: every quantity on the common lot grid, in fractions, written independently.

Never optimistic: executing the opportunity on the same books yields at least what it expected. The optimum itself
wherever it passes, and an opportunity exactly where brute force finds one.
"""

from __future__ import annotations

from collections import Counter
from decimal import Decimal
from fractions import Fraction
from math import floor
from random import Random

import pytest

from arbkube.detection.detector import Detector
from arbkube.detection.model import Balances, Opportunity
from arbkube.market.book import Level
from arbkube.market.instruments import FeeAsset, Market, Side
from arbkube.resources.kinds import CrossVenue
from tests.detection.world import (
    CENT_OF_A_MILLIONTH,
    NOW,
    PLENTY,
    Tape,
    config,
    conversion_rates,
    flows,
    market,
    value_of,
    walk,
)

CASES = 800
"""For each of four seeds."""
LOTS = ("0.1", "0.2", "0.25", "0.3", "0.5", "1")
PLAUSIBLE = Fraction(1)


class Case:
    """Two markets of BTC, perhaps in two quotes, and a book between the quotes."""

    def __init__(self, random: Random) -> None:
        self.quotes = random.choice([("USDT", "USDT"), ("USDT", "USDT"), ("USD", "USDT"), ("USDT", "USD"), ("USD", "USD")])
        self.markets = [self._market(random, feed, quote) for feed, quote in zip("ab", self.quotes, strict=True)]
        self.direct = random.random() < 0.5
        self.conversion = market(
            random.choice("ab"),
            "USD-USDT" if self.direct else "USDT-USD",
            taker=random.choice(["0", "0.0001"]),
            charged_in=random.choice(list(FeeAsset)),
        )
        centre = random.choice([100, 3, 2500])
        gap = random.uniform(0.0, 0.06)
        self.books = [
            self._ladders(random, centre * (1 - gap / 2), "0.01"),
            self._ladders(random, centre * (1 + gap / 2), "0.01"),
        ]
        self.conversion_book = self._ladders(random, 1.0, "0.0001", sizes=random.choice([(50, 900), (500, 90000)]))
        self.enter = random.choice(["0bps", "5bps", "30bps"])
        self.max_notional = str(random.choice([10_000_000, centre * 2, centre * 7]))
        self.balances = {
            feed: {
                "BTC": Decimal(str(random.choice([10**9, 10**9, round(random.uniform(0, 8), 2)]))),
                "USDT": Decimal(str(random.choice([10**9, 10**9, round(random.uniform(0, 8 * centre), 2)]))),
                "USD": Decimal(str(random.choice([10**9, 10**9, round(random.uniform(0, 8 * centre), 2)]))),
            }
            for feed in "ab"
        }

    @staticmethod
    def _market(random: Random, feed: str, quote: str) -> Market:
        return market(
            feed,
            f"BTC-{quote}",
            taker=random.choice(["0", "0.0004", "0.001", "0.0026"]),
            charged_in=random.choice(list(FeeAsset)),
            lot=random.choice(LOTS),
            min_quantity=random.choice(["0", "0", "0.5", "2"]),
            min_notional=random.choice(["0", "0", "5", "150"]),
        )

    @staticmethod
    def _ladders(random: Random, centre: float, tick: str, sizes: tuple[int, int] = (1, 30)) -> tuple[tuple[Level, ...], ...]:
        sides = []
        unit = Decimal(tick)
        for sign in (-1, 1):
            price = (Decimal(centre) * (1 + sign * Decimal("0.0005"))).quantize(unit)
            ladder = []
            for _ in range(random.randint(1, 6)):
                price += sign * unit * random.randint(1, max(1, int(Decimal(centre) / unit / 1000)))
                if price <= 0:
                    break
                ladder.append((str(price), str(Decimal(random.randint(*sizes)) / 10)))
            sides.append(tuple(ladder))
        return tuple(sides)

    def run(self) -> tuple[Detector, list[Opportunity]]:
        detector = Detector(
            config(
                *self.markets,
                self.conversion,
                cross_venue=CrossVenue(instruments=(self.markets[0].instrument.symbol,)),
                enter=self.enter,
                exit="0bps",
                plausible="10000bps",
                max_notional=self.max_notional,
            )
        )
        detector.on_balances(Balances(strategy="s", at_ns=NOW, available=self.balances), NOW)
        tape = Tape()
        detector.on_batch(tape.book(self.conversion.feed, self.conversion.instrument.symbol, *self.conversion_book), NOW)
        sightings = []
        for each, book in zip(self.markets, self.books, strict=True):
            sightings += detector.on_batch(tape.book(each.feed, each.instrument.symbol, *book), NOW)
        return detector, [sighting.opportunity for sighting in sightings if sighting.opportunity is not None]

    def rates(self, quote: str) -> tuple[Fraction, Fraction, Fraction]:
        """USDT for selling one of `quote`, for buying one, and the most USDT that holds for."""
        if quote == "USDT":
            return Fraction(1), Fraction(1), Fraction(10**30)
        return conversion_rates(self.conversion, self.conversion_book, "USD", Fraction(self.max_notional) * (1 + PLAUSIBLE))


def profit_at(case: Case, buy: int, sell: int, quantity: Fraction) -> tuple[Fraction, Fraction] | None:
    """Profit and notional of one quantity in one direction, None where it breaks a rule."""
    bought, sold = case.markets[buy], case.markets[sell]
    asks, bids = walk(case.books[buy][1], quantity), walk(case.books[sell][0], quantity)
    if asks is None or bids is None:
        return None
    for each, limit in ((bought, asks[-1][0]), (sold, bids[-1][0])):
        rules = each.instrument
        if quantity % Fraction(rules.lot) or quantity < Fraction(rules.min_quantity):
            return None
        if quantity * limit < Fraction(rules.min_notional):
            return None
    taker = Fraction(bought.fees.taker)
    in_base = bought.fees.charged_in is FeeAsset.RECEIVED
    units = {each.feed: CENT_OF_A_MILLIONTH if each.fees.taker else Fraction(0) for each in case.markets}
    arrived = quantity * (1 - taker) - len(case.books[buy][1]) * units[bought.feed] if in_base else quantity
    lot = Fraction(bought.instrument.lot)
    for each, left, price in (
        (bought, floor(arrived / lot) * lot, Fraction(case.books[buy][0][0][0])),
        (sold, quantity, Fraction(case.books[sell][1][0][0])),
    ):
        if left < Fraction(each.instrument.min_quantity) or left * price < Fraction(each.instrument.min_notional) or left <= 0:
            return None
    cost, proceeds = value_of(asks), value_of(bids)
    locked = quantity * asks[-1][0] * (1 + taker) + CENT_OF_A_MILLIONTH
    if locked > Fraction(case.balances[bought.feed][bought.instrument.quote]) or quantity > Fraction(
        case.balances[sold.feed]["BTC"]
    ):
        return None
    sell_rate, sell_cost, sell_holds = case.rates(sold.instrument.quote)
    buy_rate, buy_cost, buy_holds = case.rates(bought.instrument.quote)
    notional = cost * buy_cost
    if notional > min(Fraction(case.max_notional), buy_holds) or proceeds * sell_rate > sell_holds:
        return None
    roundings = len(asks) * units[bought.feed]
    fee = (quantity * taker + roundings) * asks[-1][0] / (1 - taker) if in_base else cost * taker + roundings
    gain = proceeds * (1 - Fraction(sold.fees.taker)) - len(bids) * units[sold.feed]
    spent = (cost + fee) * (buy_cost if buy_rate != sell_rate or buy_cost != sell_cost else sell_rate)
    profit = gain * sell_rate - spent
    if profit <= 0 or profit < Fraction(Decimal(case.enter[:-3])) / 10000 * notional:
        return None
    return profit, notional


def best_by_force(case: Case, buy: int, sell: int) -> Fraction:
    lots = [Fraction(each.instrument.lot) for each in case.markets]
    best = Fraction(0)
    deepest = min(sum(Fraction(size) for _, size in case.books[buy][1]), sum(Fraction(size) for _, size in case.books[sell][0]))
    for step in range(1, floor(deepest / lots[0]) + 1):
        quantity = step * lots[0]
        if quantity % lots[1] == 0:
            found = profit_at(case, buy, sell, quantity)
            if found is not None:
                best = max(best, found[0])
    return best


def executed(case: Case, opportunity: Opportunity) -> Fraction:
    """What both orders yield on the books as they are: every fill's fee rounded up, a missing base bought back at the limit."""
    first, second = opportunity.legs
    buy = 0 if case.markets[0].feed == first.feed else 1
    bought, sold = case.markets[buy], case.markets[1 - buy]
    for leg, ladder in ((first, case.books[buy][1]), (second, case.books[1 - buy][0])):
        sign = 1 if leg.side is Side.BUY else -1
        within = tuple(level for level in ladder if sign * Decimal(level[0]) <= sign * leg.limit_price)
        assert walk(within, Fraction(leg.quantity)) is not None, "an IOC at the limit would not fill"
    paid, got = flows(bought, Side.BUY, case.books[buy][1], Fraction(first.quantity)) or (Fraction(0), Fraction(0))
    given, gained = flows(sold, Side.SELL, case.books[1 - buy][0], Fraction(second.quantity)) or (Fraction(0), Fraction(0))
    missing = given - got
    taker = Fraction(bought.fees.taker)
    paid += missing * Fraction(first.limit_price) / (1 - taker)
    if bought.instrument.quote == sold.instrument.quote:
        return (gained - paid) * case.rates(sold.instrument.quote)[0]
    return gained * case.rates(sold.instrument.quote)[0] - paid * case.rates(bought.instrument.quote)[1]


@pytest.mark.parametrize("seed", range(4))
def test_sizes_like_brute_force_and_is_never_optimistic(seed: int) -> None:
    random = Random(seed)
    seen: Counter[str] = Counter()
    for _ in range(CASES):
        case = Case(random)
        detector, opportunities = case.run()
        found = {opportunity.legs[0].feed: opportunity for opportunity in opportunities}
        for buy, sell in ((0, 1), (1, 0)):
            optimum = best_by_force(case, buy, sell)
            opportunity = found.get(case.markets[buy].feed)
            if optimum < Fraction(1, 10**9):  # less than what rounding against us takes
                assert opportunity is None or opportunity.expected_profit <= optimum
                seen["none"] += 1
                continue
            assert opportunity is not None, (seed, case.__dict__, float(optimum), detector.outcomes)
            profit = Fraction(opportunity.expected_profit)
            assert profit <= optimum
            assert profit >= optimum - Fraction(1, 10**9), "one quantity for both legs: the optimum itself is found"
            assert profit <= executed(case, opportunity)
            check = profit_at(case, buy, sell, Fraction(opportunity.legs[0].quantity))
            assert check is not None
            assert opportunity.notional >= check[1]
            assert opportunity.legs[0].quantity == opportunity.legs[1].quantity
            assert Fraction(opportunity.net_edge_bps) <= profit / Fraction(opportunity.notional) * 10000
            seen["traded"] += 1
            seen["levels"] += opportunity.legs[0].limit_price != Decimal(case.books[buy][1][0][0])
            seen["converted"] += case.quotes != ("USDT", "USDT")
            seen["received"] += case.markets[buy].fees.charged_in is FeeAsset.RECEIVED
            seen["poor"] += any(amount < PLENTY for assets in case.balances.values() for amount in assets.values())
    assert seen["traded"] >= 250, seen
    assert min(seen[word] for word in ("none", "levels", "converted", "received", "poor")) > CASES / 40, seen
