-- Schema 6.  identity: names this store among those that share counters; drawn once.  A copy of the file that goes its
-- own way must draw another.
CREATE TABLE identity (one INTEGER PRIMARY KEY CHECK (one = 1), id INTEGER NOT NULL) STRICT;
INSERT INTO identity VALUES (1, random());
