-- Schema 3.  How many deferred messages are in each state, kept with every change of one: processes that share the
-- store would otherwise have to count them after each other's commits.
CREATE TABLE deferred_depth (state INTEGER PRIMARY KEY, n INTEGER NOT NULL) STRICT;
WITH RECURSIVE states (state) AS (VALUES (0) UNION ALL SELECT state + 1 FROM states WHERE state < 6)
    INSERT INTO deferred_depth SELECT state, (SELECT count(*) FROM deferred WHERE deferred.state = states.state) FROM states;
