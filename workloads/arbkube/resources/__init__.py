"""The kinds a trader writes: VenueFeed, ArbStrategy, RiskPolicy, as typed structs with one validator. Pure."""
