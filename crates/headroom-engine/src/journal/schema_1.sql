-- The journal, version 1. Times are milliseconds since 1970-01-01T00:00:00Z; bodies are a CRC-32 in hexadecimal, a
-- space, and JSON: substr(body, 10) is the JSON.

-- Everything the controller was told, in its order. kind: 0 an Input as it is, 1 samples in short form.
CREATE TABLE input (
    seq  INTEGER PRIMARY KEY,
    at   INTEGER NOT NULL,
    kind INTEGER NOT NULL,
    body TEXT NOT NULL
) STRICT;

-- The controller's memory after the input `seq`.
CREATE TABLE snapshot (
    seq  INTEGER PRIMARY KEY,
    at   INTEGER NOT NULL,
    body TEXT NOT NULL
) STRICT;

-- Decisions in their order. `seq`: the last input of the batch that it was recorded with.
-- class: 0 repeats the story of the one before, 1 tells a new story and changes nothing, 2 acts.
-- Narrow rows here, the text beside it: a search by time reads little.
CREATE TABLE decision (
    id       INTEGER PRIMARY KEY,
    seq      INTEGER NOT NULL,
    workload TEXT NOT NULL,
    number   INTEGER NOT NULL,
    at       INTEGER NOT NULL,
    class    INTEGER NOT NULL
) STRICT;
CREATE INDEX decision_name ON decision (workload, number);
CREATE INDEX decision_list ON decision (workload, id, at, class);
CREATE INDEX decision_age ON decision (class, at);
CREATE TABLE decision_body (
    id   INTEGER PRIMARY KEY,
    body TEXT NOT NULL
) STRICT;

-- What targets were asked for, and what came of it. Both NULL until it is known.
CREATE TABLE action (
    id         INTEGER PRIMARY KEY,
    seq        INTEGER NOT NULL,
    workload   TEXT NOT NULL,
    number     INTEGER NOT NULL,
    at         INTEGER NOT NULL,
    body       TEXT NOT NULL,
    settled_at INTEGER,
    outcome    TEXT
) STRICT;
CREATE INDEX action_name ON action (workload, number);
CREATE INDEX action_list ON action (workload, id, at);
CREATE INDEX action_age ON action (at);

-- What people were told.
CREATE TABLE notice (
    id       INTEGER PRIMARY KEY,
    workload TEXT NOT NULL,
    at       INTEGER NOT NULL,
    body     TEXT NOT NULL
) STRICT;
CREATE INDEX notice_list ON notice (workload, id, at);
CREATE INDEX notice_age ON notice (at);

-- Series by number, so that a point is small.
CREATE TABLE series (
    id       INTEGER PRIMARY KEY,
    workload TEXT NOT NULL,
    name     TEXT NOT NULL,
    UNIQUE (workload, name)
) STRICT;

-- Rolled-up points. `bucket` is the time divided by the length. Ordered by time first: writing touches the last page
-- only, retention cuts off the beginning, and a reader asks for its few hundred buckets one by one.
-- min, max and sum are NULL where all values of the bucket equal `last`.
CREATE TABLE point_1s (
    bucket INTEGER NOT NULL, series INTEGER NOT NULL,
    count INTEGER NOT NULL, last REAL NOT NULL, min REAL, max REAL, sum REAL,
    PRIMARY KEY (bucket, series)
) STRICT, WITHOUT ROWID;
CREATE TABLE point_10s (
    bucket INTEGER NOT NULL, series INTEGER NOT NULL,
    count INTEGER NOT NULL, last REAL NOT NULL, min REAL, max REAL, sum REAL,
    PRIMARY KEY (bucket, series)
) STRICT, WITHOUT ROWID;
CREATE TABLE point_1m (
    bucket INTEGER NOT NULL, series INTEGER NOT NULL,
    count INTEGER NOT NULL, last REAL NOT NULL, min REAL, max REAL, sum REAL,
    PRIMARY KEY (bucket, series)
) STRICT, WITHOUT ROWID;
CREATE TABLE point_1h (
    bucket INTEGER NOT NULL, series INTEGER NOT NULL,
    count INTEGER NOT NULL, last REAL NOT NULL, min REAL, max REAL, sum REAL,
    PRIMARY KEY (bucket, series)
) STRICT, WITHOUT ROWID;

-- Up to which input the points count. What came after is counted again from the inputs on the next start.
CREATE TABLE rolled (
    only INTEGER PRIMARY KEY CHECK (only = 0),
    seq  INTEGER NOT NULL
) STRICT;
INSERT INTO rolled VALUES (0, 0);
