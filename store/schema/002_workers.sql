-- Schema 2.  owner: which of the processes that share this store holds the row; a crash of one is cleared up
-- without the others.  subject: what caps "per subject" count by.
ALTER TABLE intent ADD COLUMN subject INTEGER NOT NULL DEFAULT 0;
ALTER TABLE intent ADD COLUMN owner INTEGER NOT NULL DEFAULT 0;
ALTER TABLE send ADD COLUMN subject INTEGER NOT NULL DEFAULT 0;
