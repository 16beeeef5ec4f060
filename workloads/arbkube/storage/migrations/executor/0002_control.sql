-- What an executor knows of control, and what its fills come to, so that a start need not read them all.
CREATE TABLE halts (
    id TEXT PRIMARY KEY,
    at_ns INTEGER NOT NULL,
    document TEXT NOT NULL
) STRICT;

-- The newest epoch of the control server that was trusted: one row at most.
CREATE TABLE epoch (
    only INTEGER PRIMARY KEY CHECK (only = 1),
    incarnation TEXT NOT NULL,
    number INTEGER NOT NULL
) STRICT;

-- Sums over the fills up to and including `last`, of the journal (`fills`) and of the paper venues (`paper_fills`).
CREATE TABLE folds (source TEXT PRIMARY KEY, last INTEGER NOT NULL) STRICT;
CREATE TABLE folded_amounts (
    source TEXT NOT NULL,
    feed TEXT NOT NULL,
    asset TEXT NOT NULL,
    amount TEXT NOT NULL,
    PRIMARY KEY (source, feed, asset)
) STRICT;
CREATE TABLE folded_times (
    source TEXT NOT NULL,
    feed TEXT NOT NULL,
    symbol TEXT NOT NULL,
    at_ns INTEGER NOT NULL,
    PRIMARY KEY (source, feed, symbol)
) STRICT;

CREATE INDEX intents_unsettled ON intents (created_ns, id) WHERE state NOT IN ('Done', 'Stuck');

-- The unit of a risk day. A file without intents has days without losses: they are begun anew.
ALTER TABLE risk_days ADD COLUMN profit_asset TEXT NOT NULL DEFAULT '';
UPDATE risk_days SET profit_asset = coalesce((SELECT profit_asset FROM intents ORDER BY created_ns DESC LIMIT 1), '');
DELETE FROM risk_days WHERE profit_asset = '';

ALTER TABLE orders ADD COLUMN budget TEXT NOT NULL DEFAULT '0';
