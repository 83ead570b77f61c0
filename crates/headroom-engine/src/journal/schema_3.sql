-- The journal, version 3: alerts on their way go on after a restart.

-- What an alert that takes hours to be raised remembers of a workload, as JSON.
CREATE TABLE progress (
    workload TEXT PRIMARY KEY,
    body     TEXT NOT NULL
) STRICT, WITHOUT ROWID;
