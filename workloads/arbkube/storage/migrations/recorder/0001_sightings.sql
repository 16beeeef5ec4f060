-- The recorder's file: what detectors saw, and the tops of the books. Decimals are exact text.
CREATE TABLE sightings (
    number INTEGER PRIMARY KEY,
    at_ns INTEGER NOT NULL,
    strategy TEXT NOT NULL,
    identity TEXT NOT NULL,
    reason TEXT,
    net_edge_bps TEXT,
    legs TEXT NOT NULL,
    opportunity TEXT
) STRICT;
CREATE INDEX sightings_by_time ON sightings (at_ns);

CREATE TABLE tops (
    number INTEGER PRIMARY KEY,
    at_ns INTEGER NOT NULL,
    feed TEXT NOT NULL,
    symbol TEXT NOT NULL,
    bid TEXT NOT NULL,
    bid_size TEXT NOT NULL,
    ask TEXT NOT NULL,
    ask_size TEXT NOT NULL,
    recv_ns INTEGER NOT NULL
) STRICT;
CREATE INDEX tops_by_time ON tops (at_ns);
CREATE INDEX tops_by_market ON tops (feed, symbol, at_ns);
