"""What every intent is decided and settled in: the rules held, the limits in force, venues' rules, accounts and halts.

For: one place that a changed configuration, limit or halt reaches, in force for the very next decision. May not: decide
anything about an intent, do I/O, or read a clock.
"""

from __future__ import annotations

from collections.abc import Iterable

from msgspec.structs import replace

from arbkube.control.halts import Scope
from arbkube.execution.config import ExecutorConfig, Rules, ages_of, restart_needed, rules_of
from arbkube.market.instruments import Market, MarketKey
from arbkube.resources.kinds import HaltMode
from arbkube.risk.accounts import Accounts
from arbkube.risk.halting import Halting
from arbkube.risk.limits import Limits, stricter


class Situation:
    """The present of one executor. `believed` is told from outside before every decision."""

    def __init__(self, config: ExecutorConfig) -> None:
        self.config = config
        self.believed = False
        """Whether the control server is: where it is not, a halt may be in force that nobody has heard of."""
        self.rules = rules_of(config)
        self.left: Rules | None = None
        """Those of the revision that was held before: opportunities decided under it may still arrive."""
        self._left_limits = config.limits
        self.markets: dict[MarketKey, Market] = {market.key: market for market in config.markets}
        """All markets ever held, by the newest rules of their venues: what is under way or owned there is settled by these."""
        self.venue_of = dict(config.venue_of)
        self.accounts = Accounts(target=config.target, markets=config.markets, profit_asset=config.profit_asset)
        self.halting = Halting(config.strategy, self.venue_of)
        self.max_age_ns: dict[str, int] = {}
        self.limit(config.limits)

    def reconfigure(self, config: ExecutorConfig) -> None:
        """Hold another configuration. Raises ValueError, with nothing changed, where that takes a restart.

        What the revision just left decided is still taken, unless the profit asset changed: its limits are in another unit.
        """
        if field := restart_needed(self.config, config):
            raise ValueError(f"{field} cannot change in a running executor")
        rules = rules_of(config)
        if rules.profit_asset != self.rules.profit_asset:
            self.left = None
        elif rules.revision != self.rules.revision:
            self.left, self._left_limits = self.rules, self.limits
        self.config, self.rules = config, rules
        self.markets.update((market.key, market) for market in config.markets)
        self.venue_of.update(config.venue_of)
        former = tuple(market for key, market in self.markets.items() if key not in rules.tradable)
        self.accounts.value_by(config.markets, former, config.profit_asset)
        self.halting.concern(Scope(strategy=config.strategy, venue_of=self.venue_of))
        self.limit(config.limits)

    def limit(self, limits: Limits) -> None:
        """Limits now in force. A feed that they no longer name keeps its age: something may still be under way there."""
        self.limits = limits
        self.config = replace(self.config, limits=limits)
        self.max_age_ns = self.max_age_ns | ages_of(limits)
        self.max_loss = limits.max_loss.fraction

    def rules_for(self, revision: str) -> Rules | None:
        """The rules of a revision that is held or was just left."""
        return next((rules for rules in (self.rules, self.left) if rules is not None and rules.revision == revision), None)

    def limits_for(self, rules: Rules) -> Limits:
        """Those in force; for what the left revision decided, no looser ones than it had."""
        return self.limits if rules is self.rules else stricter(self._left_limits, self.limits)

    def halted(self, feeds: Iterable[str]) -> HaltMode | None:
        """How far an intent on `feeds` is halted now. A doubted control server is a StopNew."""
        mode = self.halting.mode(feeds)
        return HaltMode.STOP_NEW if mode is None and not self.believed else mode

    def fresh(self, key: MarketKey, now_ns: int) -> bool:
        """Whether a market's book may be acted on."""
        return self.accounts.books.fresh(key, now_ns, self.max_age_ns.get(key[0], 0))
