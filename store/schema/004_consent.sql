-- Schema 4.  night: the consent is for the night alone, beside the one for the day.
ALTER TABLE consent ADD COLUMN night INTEGER NOT NULL DEFAULT 0;
