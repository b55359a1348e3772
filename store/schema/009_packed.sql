-- Schema 9.  Intents and sends of one commit in one row (store/packed.c); packed() is there while migrations run.
-- intents.id: owner << 32, and a place that is taken again.  A message in it is open while the audit has no result of
-- its decision; the row goes with the last one.
CREATE TABLE intents (id INTEGER PRIMARY KEY, entries BLOB NOT NULL) STRICT;
INSERT INTO intents SELECT (owner << 32) + row_number() OVER (PARTITION BY owner ORDER BY decision) - 1,
    packed(decision, 0, contact_hash, subject, channel, class, counting, category, mail) FROM intent;
DROP TABLE intent;
-- sends.id: time of the earliest in the row * 32768 + a number that tells rows apart; the others are less than a second later.
CREATE TABLE sends (id INTEGER PRIMARY KEY, entries BLOB NOT NULL) STRICT;
INSERT INTO sends SELECT at_ms * 32768 + row_number() OVER (PARTITION BY at_ms ORDER BY decision) - 1,
    packed(decision, at_ms, contact_hash, subject, channel, class, 2 - any_only, category, 0) FROM send;
DROP TABLE send;
