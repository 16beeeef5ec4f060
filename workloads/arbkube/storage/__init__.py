"""SQLite files behind small interfaces: an executor's journal and ledger, a recorder's sightings and book tops."""
