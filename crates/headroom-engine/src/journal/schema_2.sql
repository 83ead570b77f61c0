-- The journal, version 2: who is told what.

-- The alerts that are raised, as JSON: what a restart goes on with.
CREATE TABLE raised (
    only INTEGER PRIMARY KEY CHECK (only = 0),
    body TEXT NOT NULL
) STRICT;

-- Messages to notifiers, written down before they are sent. Both NULL until it is known what came of it.
CREATE TABLE delivery (
    id      INTEGER PRIMARY KEY,
    name    TEXT NOT NULL UNIQUE,
    at      INTEGER NOT NULL,
    body    TEXT NOT NULL,
    done_at INTEGER,
    outcome TEXT
) STRICT;
CREATE INDEX delivery_open ON delivery (id) WHERE done_at IS NULL;
CREATE INDEX delivery_age ON delivery (at);
