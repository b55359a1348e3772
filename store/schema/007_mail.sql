-- Schema 7.  One row for each mail that was accepted, for 72 h: its sender may send it again, not having heard the answer.
-- digest: of its key, Message-ID, envelope and content.  intent.mail: the row of the mail whose message is under way; -1: a
-- message that was kept and goes at least once, so that after a crash it waits again.
CREATE TABLE mail (
    id INTEGER PRIMARY KEY,          -- in order of time: the oldest are removed first
    digest BLOB NOT NULL UNIQUE,
    kept_id TEXT NOT NULL,           -- under which it was queued
    at_ms INTEGER NOT NULL
) STRICT;
ALTER TABLE intent ADD COLUMN mail INTEGER NOT NULL DEFAULT 0;
