-- One executor's file: what it decided, sent and got, and what its paper venues remember. Decimals are exact text.
CREATE TABLE intents (
    id TEXT PRIMARY KEY,
    opportunity_id TEXT NOT NULL,
    identity TEXT NOT NULL,
    strategy TEXT NOT NULL,
    revision TEXT NOT NULL,
    created_ns INTEGER NOT NULL,
    legs TEXT NOT NULL,
    profit_asset TEXT NOT NULL,
    expected_profit TEXT NOT NULL,
    state TEXT NOT NULL,
    outcome TEXT,
    reason TEXT NOT NULL,
    closed_ns INTEGER
) STRICT;
CREATE INDEX intents_by_closing ON intents (closed_ns);
CREATE INDEX intents_by_outcome ON intents (outcome, created_ns);

CREATE TABLE orders (
    id TEXT PRIMARY KEY,
    intent_id TEXT NOT NULL REFERENCES intents (id),
    leg INTEGER NOT NULL,
    purpose TEXT NOT NULL,
    feed TEXT NOT NULL,
    symbol TEXT NOT NULL,
    side TEXT NOT NULL,
    quantity TEXT NOT NULL,
    limit_price TEXT NOT NULL,
    created_ns INTEGER NOT NULL,
    deadline_ns INTEGER NOT NULL,
    state TEXT NOT NULL,
    filled TEXT NOT NULL,
    reason TEXT NOT NULL
) STRICT;
CREATE INDEX orders_by_intent ON orders (intent_id);

CREATE TABLE fills (
    number INTEGER PRIMARY KEY,
    trade_id TEXT NOT NULL,
    order_id TEXT NOT NULL REFERENCES orders (id),
    intent_id TEXT NOT NULL,
    feed TEXT NOT NULL,
    symbol TEXT NOT NULL,
    side TEXT NOT NULL,
    price TEXT NOT NULL,
    quantity TEXT NOT NULL,
    fee TEXT NOT NULL,
    fee_asset TEXT NOT NULL,
    at_ns INTEGER NOT NULL,
    UNIQUE (feed, trade_id)
) STRICT;
CREATE INDEX fills_by_intent ON fills (intent_id);

CREATE TABLE events (
    number INTEGER PRIMARY KEY,
    at_ns INTEGER NOT NULL,
    kind TEXT NOT NULL,
    subject TEXT NOT NULL,
    detail TEXT NOT NULL
) STRICT;
CREATE INDEX events_by_time ON events (at_ns);

CREATE TABLE risk_days (day TEXT PRIMARY KEY, start TEXT NOT NULL) STRICT;

CREATE TABLE equity (
    at_ns INTEGER PRIMARY KEY,
    cash TEXT NOT NULL,
    residual TEXT,
    inventory TEXT
) STRICT;

CREATE TABLE balances (
    feed TEXT NOT NULL,
    asset TEXT NOT NULL,
    available TEXT NOT NULL,
    at_ns INTEGER NOT NULL,
    PRIMARY KEY (feed, asset)
) STRICT;

CREATE TABLE leases (
    name TEXT PRIMARY KEY,
    holder TEXT NOT NULL,
    token INTEGER NOT NULL,
    expires_ns INTEGER NOT NULL
) STRICT;

CREATE TABLE paper_orders (
    id TEXT PRIMARY KEY,
    arrives_ns INTEGER NOT NULL,
    state TEXT NOT NULL,
    document TEXT NOT NULL
) STRICT;
CREATE INDEX paper_orders_open ON paper_orders (arrives_ns) WHERE state = 'Sent';

CREATE TABLE paper_fills (
    number INTEGER PRIMARY KEY,
    trade_id TEXT NOT NULL UNIQUE,
    document TEXT NOT NULL
) STRICT;
