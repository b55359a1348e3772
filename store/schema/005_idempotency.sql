-- Schema 5.  One row for each idempotency key of an API key (api_key is its name), for 72 h.
-- state: 0 the first request is under way, 1 likewise and its decisions are durable: answer is what a replay hears
-- should the process die now, 2 answered.  owner: the process that holds a row of state 0 or 1, as in intent.
CREATE TABLE idempotency (
    id INTEGER PRIMARY KEY,
    api_key TEXT NOT NULL,
    key TEXT NOT NULL,
    digest BLOB NOT NULL,            -- of the request: another one under the same key is refused
    state INTEGER NOT NULL,
    owner INTEGER NOT NULL,
    expires_at_ms INTEGER NOT NULL,
    status INTEGER NOT NULL DEFAULT 0,
    fields BLOB NOT NULL DEFAULT x'',
    body BLOB NOT NULL DEFAULT x'',
    UNIQUE (api_key, key)
) STRICT;
CREATE INDEX idempotency_expiry ON idempotency (expires_at_ms) WHERE state = 2;
CREATE INDEX idempotency_open ON idempotency (state) WHERE state < 2;

-- When a version was recorded; at_ms is when it was stated, which may be earlier.  What was known at an instant of the
-- past is asked of it.
ALTER TABLE preference ADD COLUMN recorded_at_ms INTEGER NOT NULL DEFAULT 0;
UPDATE preference SET recorded_at_ms = at_ms;
