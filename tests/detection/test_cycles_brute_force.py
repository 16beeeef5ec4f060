"""Cycle sizing against brute force: every combination of quantities of all legs, exact, written independently.

Never optimistic: executing the legs one after the other on the same books, each fill's fee rounded up, yields at least what was
expected, and no leg spends more than the one before brought in. At least 99 % of the optimum wherever the optimum passes.
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
from arbkube.resources.kinds import Cycle
from tests.detection.world import CENT_OF_A_MILLIONTH, NOW, PLENTY, Tape, config, conversion_rates, flows, market, walk

CASES = 620
"""For each of four seeds."""
PLAUSIBLE = Fraction(2)
WORTH = {"USDT": Decimal(1), "BTC": Decimal(200), "ETH": Decimal(20), "XRP": Decimal(2)}
LOTS = {"BTC": ("0.05", "0.1", "0.2", "0.25"), "ETH": ("0.5", "1", "2", "0.7"), "XRP": ("5", "7", "20")}
Scaled = int
"""An exact decimal times 10^SCALE: comparing whole numbers is what makes brute force quick enough."""
SCALE = 10**40


def scaled(number: Fraction | Decimal) -> Scaled:
    product = Fraction(number) * SCALE
    assert product.denominator == 1
    return product.numerator


class Case:
    """A ring of three or four assets, each market on one of two feeds, and perhaps another profit asset."""

    def __init__(self, random: Random) -> None:
        assets = ["USDT", "BTC", "ETH", "XRP"][: random.choice([3, 3, 4])]
        self.size = len(assets)
        self.markets: list[Market] = []
        self.books: list[tuple[tuple[Level, ...], ...]] = []
        gap = Decimal(str(round(random.uniform(0.08, 0.4) * random.choice([1, -1]), 4)))
        for place, first in enumerate(assets):
            second = assets[(place + 1) % self.size]
            # The asset that is worth more is the quote, as venues have it.
            base, quote = (
                (second, first) if first == "USDT" or (second != "USDT" and WORTH[first] > WORTH[second]) else (first, second)
            )
            self.markets.append(
                market(
                    random.choice("aab"),
                    f"{base}-{quote}",
                    taker=random.choice(["0", "0.0004", "0.001", "0.0026"]),
                    charged_in=random.choice(list(FeeAsset)),
                    lot=random.choice(LOTS[base]),
                    min_quantity=random.choice(["0", "0", "0", LOTS[base][1]]),
                    min_notional=str(Decimal(random.choice([0, 0, 5, 20])) / WORTH[quote]),
                    tick="0.0001",
                )
            )
            centre = WORTH[base] / WORTH[quote] * (1 + gap / self.size * (1 if base == second else -1))
            self.books.append(self._ladders(random, centre, base))
        self.profit_asset = random.choice(["USDT", "USDT", "USD"])
        self.conversion = market(random.choice("ab"), random.choice(["USD-USDT", "USDT-USD"]), taker="0.0001", lot="0.01")
        self.conversion_book = (
            (("0.9998", "150.5"), ("0.9991", str(random.choice([50, 5000])))),
            (("1.0001", "120"), ("1.0007", str(random.choice([100, 9000])))),
        )
        self.enter = random.choice(["0bps", "20bps", "150bps"])
        self.max_notional = str(random.choice([10_000, 300, 120]))
        poor = random.random() < 0.3
        self.balances = {
            feed: {
                asset: Decimal(str(round(random.uniform(60, 600), 1))) / WORTH[asset] if poor else PLENTY for asset in assets
            }
            for feed in "ab"
        }

    @staticmethod
    def _ladders(random: Random, centre: Decimal, base: str) -> tuple[tuple[Level, ...], ...]:
        sides = []
        lot = Decimal(LOTS[base][0])
        for sign in (-1, 1):
            price = centre * (1 + sign * Decimal("0.001"))
            ladder = []
            for _ in range(random.randint(1, 4)):
                price *= 1 + sign * Decimal(str(round(random.uniform(0.001, 0.02), 4)))
                ladder.append((str(round(price, 6)), str(lot * random.randint(4, 20) / 2)))
            sides.append(tuple(ladder))
        return tuple(sides)

    def run(self) -> tuple[Detector, dict[str, Opportunity]]:
        """By the first leg's symbol, which tells the two directions of a ring apart."""
        detector = Detector(
            config(
                *self.markets,
                self.conversion,
                cycle=Cycle(start_assets=("USDT",), max_legs=self.size),
                profit_asset=self.profit_asset,
                enter=self.enter,
                exit="0bps",
                plausible="20000bps",
                max_notional=self.max_notional,
            )
        )
        detector.on_balances(Balances(strategy="s", at_ns=NOW, available=self.balances), NOW)
        tape = Tape()
        detector.on_batch(tape.book(self.conversion.feed, self.conversion.instrument.symbol, *self.conversion_book), NOW)
        sightings = []
        for each, book in zip(self.markets, self.books, strict=True):
            sightings += detector.on_batch(tape.book(each.feed, each.instrument.symbol, *book), NOW)
        taken = [sighting.opportunity for sighting in sightings if sighting.opportunity is not None]
        return detector, {opportunity.legs[0].symbol: opportunity for opportunity in taken}

    def rates(self) -> tuple[Fraction, Fraction, Fraction]:
        if self.profit_asset == "USDT":
            return Fraction(1), Fraction(1), Fraction(10**9)
        return conversion_rates(self.conversion, self.conversion_book, "USDT", Fraction(self.max_notional) * (1 + PLAUSIBLE))


class Row:
    """One quantity of one leg: what it pays, gets and locks, and the first leg's value before its fee."""

    def __init__(self, quantity: Fraction, pays: Fraction, gets: Fraction, locks: Fraction, value: Fraction) -> None:
        self.quantity = quantity
        self.pays, self.gets, self.locks, self.value = (scaled(number) for number in (pays, gets, locks, value))


def table(each: Market, book: tuple[tuple[Level, ...], ...], side: Side) -> list[Row]:
    """Every orderable quantity of a leg, smallest first."""
    rules, taker = each.instrument, Fraction(each.fees.taker)
    bids, asks = book
    ladder, opposite = (asks, bids) if side is Side.BUY else (bids, asks)
    in_base = side is Side.BUY and each.fees.charged_in is FeeAsset.RECEIVED
    unit = CENT_OF_A_MILLIONTH if taker else Fraction(0)
    lot = Fraction(rules.lot)
    rows = []
    steps = 1
    while (fills := walk(ladder, steps * lot)) is not None:
        quantity, limit = steps * lot, fills[-1][0]
        value = sum((price * amount for price, amount in fills), Fraction(0))
        roundings = len(fills) * unit
        if side is Side.SELL:
            pays, gets, locks = quantity, value * (1 - taker) - roundings, quantity
        elif in_base:
            pays, gets, locks = value, quantity * (1 - taker) - roundings, quantity * limit * (1 + taker) + CENT_OF_A_MILLIONTH
        else:
            pays, gets, locks = value * (1 + taker) + roundings, quantity, quantity * limit * (1 + taker) + CENT_OF_A_MILLIONTH
        left = floor((quantity * (1 - taker) - len(ladder) * unit) / lot) * lot if in_base else quantity
        if (
            quantity >= Fraction(rules.min_quantity)
            and quantity * limit >= Fraction(rules.min_notional)
            and left > 0
            and left >= Fraction(rules.min_quantity)
            and left * Fraction(opposite[0][0]) >= Fraction(rules.min_notional)
        ):
            rows.append(Row(quantity, pays, gets, locks, value if side is Side.BUY else quantity))
        steps += 1
    return rows


def best_by_force(case: Case, legs: list[tuple[int, Side]]) -> Fraction:
    """The largest profit in the profit asset, 0 where nothing passes."""
    sell_rate, buy_rate, holds = case.rates()
    tables = [table(case.markets[place], case.books[place], side) for place, side in legs]
    free = []
    for place, side in legs:
        rules = case.markets[place].instrument
        free.append(scaled(case.balances[case.markets[place].feed][rules.base if side is Side.SELL else rules.quote]))
    most = scaled(Fraction(floor(min(Fraction(case.max_notional), holds) / buy_rate * 10**20), 10**20))
    enter = Fraction(Decimal(case.enter[:-3])) / 10000 * buy_rate / sell_rate
    best = 0
    # Every combination, leg by leg; nothing is pruned but what breaks a rule.
    for first in tables[0]:
        if first.locks > free[0] or first.value > most:
            continue
        reachable = {first.gets}
        for leg in range(1, len(legs)):
            reachable = {row.gets for have in reachable for row in tables[leg] if row.pays <= have and row.locks <= free[leg]}
        for final in reachable:
            profit = final - first.pays
            if profit > best and profit >= enter * first.value:
                best = profit
    return Fraction(best, SCALE) * sell_rate


def executed(case: Case, opportunity: Opportunity) -> Fraction:
    """What the legs yield one after the other, on the books as they are."""
    have: Fraction | None = None
    spent = Fraction(0)
    for leg in opportunity.legs:
        place = next(place for place, each in enumerate(case.markets) if each.key == (leg.feed, leg.symbol))
        bids, asks = case.books[place]
        ladder = asks if leg.side is Side.BUY else bids
        sign = 1 if leg.side is Side.BUY else -1
        within = tuple(level for level in ladder if sign * Decimal(level[0]) <= sign * leg.limit_price)
        moved = flows(case.markets[place], leg.side, within, Fraction(leg.quantity))
        assert moved is not None, "an IOC at the limit would not fill"
        pays, gets = moved
        if have is None:
            spent = pays
        else:
            assert pays <= have, "a leg spends more than the one before brought in"
        have = gets
    assert have is not None
    return (have - spent) * case.rates()[0]


@pytest.mark.parametrize("seed", range(4))
def test_sizes_like_brute_force_and_is_never_optimistic(seed: int) -> None:
    random = Random(seed)
    seen: Counter[str] = Counter()
    worst = 1.0
    for _ in range(CASES):
        case = Case(random)
        detector, found = case.run()
        forward = [(place, Side.BUY if place < case.size - 1 else Side.SELL) for place in range(case.size)]
        backward = [(place, side.opposite) for place, side in reversed(forward)]
        for legs in (forward, backward):
            optimum = best_by_force(case, legs)
            opportunity = found.get(case.markets[legs[0][0]].instrument.symbol)
            if optimum < Fraction(1, 10**9):
                assert opportunity is None or opportunity.expected_profit <= optimum
                seen["none"] += 1
                continue
            assert opportunity is not None, (seed, case.__dict__, float(optimum), detector.outcomes)
            assert len(opportunity.legs) == case.size
            profit = Fraction(opportunity.expected_profit)
            assert profit <= optimum
            assert profit >= optimum * Fraction(99, 100), (float(profit), float(optimum))
            assert profit <= executed(case, opportunity)
            worst = min(worst, float(profit / optimum))
            seen["traded"] += 1
            seen[f"{case.size} legs"] += 1
            seen["feeds"] += len({leg.feed for leg in opportunity.legs}) > 1
            seen["converted"] += case.profit_asset != "USDT"
            seen["poor"] += any(amount < PLENTY for assets in case.balances.values() for amount in assets.values())
    assert seen["traded"] >= 240, seen
    assert min(seen[word] for word in ("none", "3 legs", "4 legs", "feeds", "converted", "poor")) > CASES / 60, seen


@pytest.mark.parametrize("seed", range(8))
def test_fine_lots_and_thin_edges(seed: int) -> None:
    """As on a real venue: an edge of a few basis points, and lots that are worth as much as the profit."""
    random = Random(seed)
    edge = Decimal(random.randint(12, 30)) / 10000
    prices = {"BTC-USDT": Decimal(60_000), "ETH-BTC": Decimal("0.05") * (1 - edge), "ETH-USDT": Decimal(3_000)}
    rules = {"BTC-USDT": ("0.00001", "0.01"), "ETH-BTC": ("0.0001", "0.00001"), "ETH-USDT": ("0.0001", "0.01")}
    charged_in = random.choice(list(FeeAsset))
    markets = [
        market("a", symbol, taker="0.0002", charged_in=charged_in, lot=lot, tick=tick, min_notional="0.0001")
        for symbol, (lot, tick) in rules.items()
    ]
    books = []
    for each in markets:
        step, sides = each.instrument.tick, []
        for sign in (-1, 1):
            price = (prices[each.instrument.symbol] / step).quantize(Decimal(1)) * step
            ladder = []
            for _ in range(10):
                worth = Decimal(random.randint(20, 300)) / (60_000 if each.instrument.base == "BTC" else 3_000)
                ladder.append((str(price), str(max(each.instrument.lot, round(worth, 4)))))
                price += sign * step * random.randint(1, 3)
            sides.append(tuple(ladder))
        books.append((sides[0], tuple((str(Decimal(p) + step), s) for p, s in sides[1])))
    detector = Detector(config(*markets, cycle=Cycle(start_assets=("USDT",)), enter="1bps", max_notional="700"))
    detector.on_balances(Balances(strategy="s", at_ns=NOW, available={"a": dict.fromkeys(("USDT", "BTC", "ETH"), PLENTY)}), NOW)
    tape = Tape()
    sightings = []
    for each, book in zip(markets, books, strict=True):
        sightings += detector.on_batch(tape.book("a", each.instrument.symbol, *book), NOW)
    opportunities = [sighting.opportunity for sighting in sightings if sighting.opportunity is not None]
    # Every quantity of the first leg; of each later leg the most that can be paid for, since dust is worth nothing.
    best = Fraction(0)
    lots = [Fraction(each.instrument.lot) for each in markets]
    steps = 1
    while (bought := flows(markets[0], Side.BUY, books[0][1], steps * lots[0])) is not None:
        notional = sum((price * amount for price, amount in walk(books[0][1], steps * lots[0]) or []), Fraction(0))
        if notional > 700:
            break
        steps += 1
        have = bought[1]
        guess = have / Fraction(books[1][1][0][0]) // lots[1]
        second = None
        while guess > 0:  # downwards to the first that is affordable
            second = flows(markets[1], Side.BUY, books[1][1], guess * lots[1])
            if second is not None and second[0] <= have:
                break
            guess -= 1
        if guess <= 0 or second is None:
            continue
        third = flows(markets[2], Side.SELL, books[2][0], second[1] // lots[2] * lots[2])
        if third is not None:
            profit = third[1] - bought[0]
            if profit >= notional / 10000:
                best = max(best, profit)
    assert bool(opportunities) == (best > 0)
    assert bool(opportunities) == (seed not in {0, 2}), "most of these are meant to trade"
    for opportunity in opportunities:
        profit = Fraction(opportunity.expected_profit)
        assert best * Fraction(99, 100) <= profit <= best + Fraction(1, 10**6)
