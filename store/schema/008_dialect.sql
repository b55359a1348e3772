-- Schema 8.  What waits is claimed for one provider at a time: by the dialect that it came in.
ALTER TABLE deferred ADD COLUMN dialect TEXT NOT NULL DEFAULT '';
UPDATE deferred SET dialect = coalesce((SELECT submission.dialect FROM submission WHERE submission.id = deferred.submission), '');
DROP INDEX deferred_due;
DROP INDEX deferred_ready;
CREATE INDEX deferred_due ON deferred (dialect, release_at_ms + spread_ms) WHERE state = 0 AND ready = 0 AND kind IN (0, 3);
CREATE INDEX deferred_ready ON deferred (dialect, priority, class, expires_at_ms, enqueued_at_ms)
    WHERE state = 0 AND ready = 1;
