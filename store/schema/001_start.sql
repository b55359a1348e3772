-- Schema 1.  Numbers for channel, class, priority, state, kind, scope, source, ... are the values of the
-- enums in include/postern (pinned by static_assert in store/sqlite.h); reasons and preference keys are names.
-- Nothing on the way of a forwarded message (audit, intent, send) has an index in random order.

-- Counts the openings: the upper bits of decision ids, so that ids rise over restarts.
CREATE TABLE opening (one INTEGER PRIMARY KEY CHECK (one = 1), n INTEGER NOT NULL) STRICT;
INSERT INTO opening VALUES (1, 0);

-- The chain.  personal may be set to NULL by an erasure: the chain holds its digest, not itself.
CREATE TABLE audit (
    seq INTEGER PRIMARY KEY,
    at_ms INTEGER NOT NULL,
    kind TEXT NOT NULL,
    ref INTEGER NOT NULL,
    body TEXT NOT NULL,
    personal TEXT,
    personal_digest BLOB NOT NULL,
    hash BLOB NOT NULL
) STRICT;
-- ref is a decision's id: it rises almost in order, so this index grows at its right edge.
CREATE INDEX audit_ref ON audit (ref) WHERE ref <> 0;
CREATE TABLE audit_head (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    seq INTEGER NOT NULL,
    hash BLOB NOT NULL,
    mac BLOB NOT NULL
) STRICT;

CREATE TABLE decision_child (
    parent INTEGER NOT NULL,
    child INTEGER NOT NULL,
    PRIMARY KEY (parent, child)
) STRICT, WITHOUT ROWID;

-- Recorded to leave, result not known yet.
CREATE TABLE intent (
    decision INTEGER PRIMARY KEY,
    contact_hash INTEGER NOT NULL,
    channel INTEGER NOT NULL,
    class INTEGER NOT NULL,
    category TEXT NOT NULL,
    counting INTEGER NOT NULL
) STRICT;

-- What counts against caps, in order of time.
CREATE TABLE send (
    at_ms INTEGER NOT NULL,
    decision INTEGER NOT NULL,
    contact_hash INTEGER NOT NULL,
    channel INTEGER NOT NULL,
    class INTEGER NOT NULL,
    category TEXT NOT NULL,
    any_only INTEGER NOT NULL,
    PRIMARY KEY (at_ms, decision)
) STRICT, WITHOUT ROWID;

-- One body for all deferred rows of a submission; goes with the last of them.
CREATE TABLE submission (
    id INTEGER PRIMARY KEY,
    refs INTEGER NOT NULL,
    dialect TEXT NOT NULL,
    method TEXT NOT NULL,
    path TEXT NOT NULL,
    query TEXT NOT NULL,
    fields BLOB NOT NULL,
    body BLOB NOT NULL
) STRICT;

CREATE TABLE deferred (
    id INTEGER PRIMARY KEY,
    decision INTEGER NOT NULL,
    kind INTEGER NOT NULL,
    state INTEGER NOT NULL,
    submission INTEGER NOT NULL,
    message_index INTEGER NOT NULL,
    kept_id TEXT NOT NULL,
    key TEXT NOT NULL,
    account TEXT NOT NULL,
    contact_id TEXT NOT NULL,
    to_kind INTEGER NOT NULL,
    to_text TEXT NOT NULL,
    to_folded TEXT NOT NULL,
    channel INTEGER NOT NULL,
    category TEXT NOT NULL,
    class INTEGER NOT NULL,
    priority INTEGER NOT NULL,
    reason TEXT NOT NULL,
    batch_id TEXT NOT NULL,
    collapse_key TEXT NOT NULL,
    topic TEXT NOT NULL,
    sender TEXT NOT NULL,
    local_rule TEXT NOT NULL,
    enqueued_at_ms INTEGER NOT NULL,
    updated_at_ms INTEGER NOT NULL,
    release_at_ms INTEGER NOT NULL,
    spread_ms INTEGER NOT NULL,      -- due that much later: messages of one opening are spread
    expires_at_ms INTEGER NOT NULL,  -- 9223372036854775807: never, so that it sorts last
    deferrals INTEGER NOT NULL,
    attempts INTEGER NOT NULL,       -- at a provider that did not take it
    fence INTEGER NOT NULL,
    end_reason TEXT NOT NULL,
    ready INTEGER NOT NULL,          -- due, and in the active set that claims are taken from
    lease_until_ms INTEGER NOT NULL,
    lease_decision INTEGER NOT NULL  -- the intent that holds the lease until its result; 0: none
) STRICT;
CREATE INDEX deferred_due ON deferred (channel, release_at_ms + spread_ms) WHERE state = 0 AND ready = 0 AND kind IN (0, 3);
CREATE INDEX deferred_ready ON deferred (channel, priority, class, expires_at_ms, enqueued_at_ms)
    WHERE state = 0 AND ready = 1;
CREATE INDEX deferred_leased ON deferred (lease_until_ms) WHERE state = 2;
CREATE INDEX deferred_state ON deferred (state, enqueued_at_ms);
CREATE INDEX deferred_decision ON deferred (decision);
CREATE INDEX deferred_to ON deferred (to_folded);
CREATE INDEX deferred_contact ON deferred (contact_id) WHERE contact_id <> '';
CREATE INDEX deferred_kept ON deferred (kept_id) WHERE kept_id <> '';
CREATE INDEX deferred_batch ON deferred (batch_id) WHERE batch_id <> '';

-- changed_seq: the audit row of the latest change; what profile.version is made of.
CREATE TABLE contact (
    n INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    account TEXT NOT NULL,
    version INTEGER NOT NULL,
    changed_seq INTEGER NOT NULL,
    created_at_ms INTEGER NOT NULL,
    updated_at_ms INTEGER NOT NULL,
    previous_zone TEXT NOT NULL,         -- '': the zone never changed
    zone_changed_at_ms INTEGER NOT NULL
) STRICT;
CREATE TABLE contact_address (
    text TEXT PRIMARY KEY,
    kind INTEGER NOT NULL,
    folded TEXT NOT NULL,
    contact INTEGER NOT NULL REFERENCES contact (n),
    position INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX contact_address_contact ON contact_address (contact);
CREATE INDEX contact_address_folded ON contact_address (folded);

-- Versions count per key and scope; the latest of each authority and system stands, and policy says which is in force.
CREATE TABLE preference (
    contact INTEGER NOT NULL REFERENCES contact (n),
    key TEXT NOT NULL,
    specificity INTEGER NOT NULL,
    scope TEXT NOT NULL,
    version INTEGER NOT NULL,
    text TEXT NOT NULL,
    authority INTEGER NOT NULL,
    source INTEGER NOT NULL,
    system TEXT NOT NULL,
    confidence INTEGER NOT NULL,
    at_ms INTEGER NOT NULL,
    actor TEXT NOT NULL,
    PRIMARY KEY (contact, key, specificity, scope, version)
) STRICT, WITHOUT ROWID;

CREATE TABLE consent (
    id INTEGER PRIMARY KEY,
    contact INTEGER NOT NULL REFERENCES contact (n),
    any_channel INTEGER NOT NULL,
    channel INTEGER NOT NULL,
    category TEXT NOT NULL,
    state INTEGER NOT NULL,
    source INTEGER NOT NULL,
    basis TEXT NOT NULL,
    evidence TEXT NOT NULL,
    actor TEXT NOT NULL,
    at_ms INTEGER NOT NULL,
    expires_at_ms INTEGER NOT NULL
) STRICT;
CREATE INDEX consent_contact ON consent (contact);

-- Found by folded address, and by contact when the address is one's (contact 0: nobody's).
CREATE TABLE opt_out (
    id INTEGER PRIMARY KEY,
    folded TEXT NOT NULL,
    address TEXT NOT NULL,
    contact INTEGER NOT NULL,
    scope INTEGER NOT NULL,
    any_channel INTEGER NOT NULL,
    channel INTEGER NOT NULL,
    category TEXT NOT NULL,
    topic TEXT NOT NULL,
    sender TEXT NOT NULL,
    source INTEGER NOT NULL,
    reason TEXT NOT NULL,
    actor TEXT NOT NULL,
    at_ms INTEGER NOT NULL,
    lifted_at_ms INTEGER NOT NULL,   -- 0: in force
    changed_seq INTEGER NOT NULL
) STRICT;
CREATE INDEX opt_out_folded ON opt_out (folded);
CREATE INDEX opt_out_contact ON opt_out (contact) WHERE contact <> 0;

-- The sandbox provider's inbox: the newest only.
CREATE TABLE sandbox (
    id INTEGER PRIMARY KEY,
    at_ms INTEGER NOT NULL,
    decision INTEGER NOT NULL,
    dialect TEXT NOT NULL,
    category TEXT NOT NULL,
    channel INTEGER NOT NULL,
    "to" TEXT NOT NULL,
    "from" TEXT NOT NULL,
    subject TEXT NOT NULL,
    text TEXT NOT NULL,
    body BLOB NOT NULL
) STRICT;
