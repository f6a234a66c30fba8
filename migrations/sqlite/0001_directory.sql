-- The directory: workspaces, their people, and what is recorded beside every change.
-- Times are integer microseconds since 1970, UTC: they compare as they sort. Ids are 16-byte UUIDv7.
-- workspace_id leads every key and index, as on PostgreSQL; one text serves both engines.

CREATE TABLE workspaces (
    id BLOB NOT NULL PRIMARY KEY,
    name TEXT NOT NULL,
    default_country TEXT,
    strict_attributes INTEGER NOT NULL DEFAULT 0,
    session_gap_seconds INTEGER NOT NULL DEFAULT 1800,
    time_zone TEXT NOT NULL DEFAULT 'UTC',
    -- Rises with every change of a property definition, so that a cached copy knows that it is old.
    definitions_version INTEGER NOT NULL DEFAULT 0,
    created_at INTEGER NOT NULL
) STRICT;

-- Read across workspaces (a key is looked up before its workspace is known); kept small.
CREATE TABLE api_keys (
    id BLOB NOT NULL PRIMARY KEY,
    workspace_id BLOB NOT NULL,
    name TEXT NOT NULL,
    -- Space-separated, sorted.
    scopes TEXT NOT NULL,
    trust TEXT NOT NULL CHECK (trust IN ('server', 'browser')),
    -- SHA-256 of the whole key, in hex. The key itself is shown once and stored nowhere.
    secret_hash TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    last_used_at INTEGER,
    revoked_at INTEGER
) STRICT;
-- Authentication looks a key up by its hash.
CREATE UNIQUE INDEX api_keys_by_hash ON api_keys (secret_hash);
-- The keys of one workspace, newest last.
CREATE INDEX api_keys_by_workspace ON api_keys (workspace_id, id);

-- What is asked of people: narrow rows that filters, sorts and search walk. The answer itself is in profile_documents.
CREATE TABLE profiles (
    -- Joins the row to its entry in the full-text index, which knows integers only.
    rank INTEGER PRIMARY KEY,
    workspace_id BLOB NOT NULL REFERENCES workspaces (id),
    id BLOB NOT NULL,
    version INTEGER NOT NULL,
    -- 0001-01-01 for people never seen, so that they come last in the newest-first order.
    last_seen_at INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    -- The folded name, U+10FFFF where there is none.
    name_key TEXT NOT NULL,
    -- Everything the person can be found by, folded, one field a line.
    search_text TEXT NOT NULL,
    email TEXT,
    phone TEXT,
    external_id TEXT,
    name TEXT,
    first_name TEXT,
    last_name TEXT,
    company TEXT,
    job_title TEXT,
    country TEXT,
    city TEXT,
    language TEXT,
    timezone TEXT,
    avatar_url TEXT,
    last_channel TEXT,
    -- Folded texts by field name (JSON object), for contains, starts_with and ends_with.
    folded TEXT NOT NULL,
    UNIQUE (workspace_id, id)
) STRICT;
-- The four orders of a list, each with the id as tie-break; read backwards for the other direction.
CREATE INDEX profiles_by_last_seen ON profiles (workspace_id, last_seen_at, id);
CREATE INDEX profiles_by_created ON profiles (workspace_id, created_at, id);
CREATE INDEX profiles_by_updated ON profiles (workspace_id, updated_at, id);
CREATE INDEX profiles_by_name ON profiles (workspace_id, name_key, id);
-- Everybody of a country.
CREATE INDEX profiles_by_country ON profiles (workspace_id, country, last_seen_at, id);

-- The document of a person, byte for byte what the API answers: reading one person is reading one row.
CREATE TABLE profile_documents (
    workspace_id BLOB NOT NULL,
    profile_id BLOB NOT NULL,
    version INTEGER NOT NULL,
    document TEXT NOT NULL,
    PRIMARY KEY (workspace_id, profile_id),
    FOREIGN KEY (workspace_id, profile_id) REFERENCES profiles (workspace_id, id)
) STRICT;

-- Any part of any text, three characters and up. Contentless: the text itself is in profiles.search_text.
-- detail=none keeps only which rows hold a trigram; candidates are checked against the text.
CREATE VIRTUAL TABLE profile_search USING fts5 (
    text, content = '', contentless_delete = 1, detail = none, tokenize = "trigram case_sensitive 1"
);

-- One key, one person: the database's promise for every kind.
CREATE TABLE profile_identities (
    workspace_id BLOB NOT NULL,
    kind TEXT NOT NULL,
    value TEXT NOT NULL,
    profile_id BLOB NOT NULL,
    -- Whose it was before any merge.
    origin_profile_id BLOB NOT NULL,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (workspace_id, kind, value),
    FOREIGN KEY (workspace_id, profile_id) REFERENCES profiles (workspace_id, id)
) STRICT, WITHOUT ROWID;
CREATE INDEX profile_identities_by_profile ON profile_identities (workspace_id, profile_id);

-- Custom attributes in the form conditions compare: text as it is, numbers, dates and times as numbers
-- (microseconds), booleans as 0 and 1; a list has a row for each text.
CREATE TABLE profile_attributes (
    workspace_id BLOB NOT NULL,
    profile_id BLOB NOT NULL,
    key TEXT NOT NULL,
    item INTEGER NOT NULL,
    text TEXT,
    number REAL,
    PRIMARY KEY (workspace_id, profile_id, key, item),
    FOREIGN KEY (workspace_id, profile_id) REFERENCES profiles (workspace_id, id)
) STRICT, WITHOUT ROWID;
CREATE INDEX profile_attributes_by_text ON profile_attributes (workspace_id, key, text, profile_id) WHERE text IS NOT NULL;
CREATE INDEX profile_attributes_by_number ON profile_attributes (workspace_id, key, number, profile_id) WHERE number IS NOT NULL;

CREATE TABLE properties (
    workspace_id BLOB NOT NULL REFERENCES workspaces (id),
    key TEXT NOT NULL,
    type TEXT NOT NULL,
    label TEXT,
    description TEXT,
    -- JSON list of texts.
    options TEXT NOT NULL,
    searchable INTEGER NOT NULL,
    pii INTEGER NOT NULL,
    matching TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    PRIMARY KEY (workspace_id, key)
) STRICT;

-- Search text still to be brought in line with a property that became searchable, or ceased to be.
CREATE TABLE search_refreshes (
    workspace_id BLOB NOT NULL REFERENCES workspaces (id),
    key TEXT NOT NULL,
    -- Where the walk over everyone stands.
    after_profile_id BLOB,
    requested_at INTEGER NOT NULL,
    PRIMARY KEY (workspace_id, key)
) STRICT;

CREATE TABLE labels (
    workspace_id BLOB NOT NULL REFERENCES workspaces (id),
    name TEXT NOT NULL,
    color TEXT,
    description TEXT,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (workspace_id, name)
) STRICT;

CREATE TABLE profile_labels (
    workspace_id BLOB NOT NULL,
    profile_id BLOB NOT NULL,
    label TEXT NOT NULL,
    source TEXT NOT NULL CHECK (source IN ('manual', 'rule')),
    rule_id BLOB,
    actor TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (workspace_id, profile_id, label),
    FOREIGN KEY (workspace_id, profile_id) REFERENCES profiles (workspace_id, id),
    FOREIGN KEY (workspace_id, label) REFERENCES labels (workspace_id, name)
) STRICT, WITHOUT ROWID;
-- Everyone with a label.
CREATE INDEX profile_labels_by_label ON profile_labels (workspace_id, label, profile_id);

CREATE TABLE segments (
    workspace_id BLOB NOT NULL REFERENCES workspaces (id),
    id BLOB NOT NULL,
    name TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (workspace_id, id)
) STRICT;

CREATE TABLE profile_segments (
    workspace_id BLOB NOT NULL,
    profile_id BLOB NOT NULL,
    segment_id BLOB NOT NULL,
    entered_at INTEGER NOT NULL,
    PRIMARY KEY (workspace_id, profile_id, segment_id),
    FOREIGN KEY (workspace_id, profile_id) REFERENCES profiles (workspace_id, id),
    FOREIGN KEY (workspace_id, segment_id) REFERENCES segments (workspace_id, id)
) STRICT, WITHOUT ROWID;
-- Everyone in a segment.
CREATE INDEX profile_segments_by_segment ON profile_segments (workspace_id, segment_id, profile_id);

CREATE TABLE profile_channels (
    workspace_id BLOB NOT NULL,
    profile_id BLOB NOT NULL,
    channel TEXT NOT NULL,
    PRIMARY KEY (workspace_id, profile_id, channel),
    FOREIGN KEY (workspace_id, profile_id) REFERENCES profiles (workspace_id, id)
) STRICT, WITHOUT ROWID;
-- Everyone seen on a channel.
CREATE INDEX profile_channels_by_channel ON profile_channels (workspace_id, channel, profile_id);

-- Where each person stands on each channel, derived from the ledger.
CREATE TABLE profile_consents (
    workspace_id BLOB NOT NULL,
    profile_id BLOB NOT NULL,
    channel TEXT NOT NULL,
    status TEXT NOT NULL CHECK (status IN ('opted_in', 'opted_out', 'pending', 'unknown')),
    PRIMARY KEY (workspace_id, profile_id, channel),
    FOREIGN KEY (workspace_id, profile_id) REFERENCES profiles (workspace_id, id)
) STRICT, WITHOUT ROWID;
-- Everyone with a status on a channel.
CREATE INDEX profile_consents_by_status ON profile_consents (workspace_id, channel, status, profile_id);

-- Every decision ever made or reported, in the order it was recorded. Rows are added and, on erasure, removed.
CREATE TABLE consent_ledger (
    workspace_id BLOB NOT NULL,
    profile_id BLOB NOT NULL,
    id BLOB NOT NULL,
    channel TEXT NOT NULL,
    status TEXT NOT NULL CHECK (status IN ('opted_in', 'opted_out', 'pending', 'unknown')),
    occurred_at INTEGER NOT NULL,
    recorded_at INTEGER NOT NULL,
    source TEXT,
    evidence TEXT,
    actor TEXT NOT NULL,
    request_id TEXT NOT NULL,
    origin_profile_id BLOB NOT NULL,
    PRIMARY KEY (workspace_id, profile_id, id),
    FOREIGN KEY (workspace_id, profile_id) REFERENCES profiles (workspace_id, id)
) STRICT, WITHOUT ROWID;

-- What a person did. Filled by ingestion; behavioural filters read it.
CREATE TABLE events (
    workspace_id BLOB NOT NULL,
    profile_id BLOB NOT NULL,
    occurred_at INTEGER NOT NULL,
    id BLOB NOT NULL,
    type TEXT NOT NULL,
    channel TEXT,
    -- JSON object.
    properties TEXT NOT NULL,
    PRIMARY KEY (workspace_id, profile_id, occurred_at, id),
    FOREIGN KEY (workspace_id, profile_id) REFERENCES profiles (workspace_id, id)
) STRICT, WITHOUT ROWID;
-- How often a person did a thing lately.
CREATE INDEX events_by_type ON events (workspace_id, profile_id, type, occurred_at);

-- The audit trail: what changed, field by field, who changed it, through which request.
CREATE TABLE profile_history (
    workspace_id BLOB NOT NULL,
    profile_id BLOB NOT NULL,
    id BLOB NOT NULL,
    at INTEGER NOT NULL,
    action TEXT NOT NULL,
    source TEXT NOT NULL,
    actor TEXT NOT NULL,
    request_id TEXT NOT NULL,
    reason TEXT,
    version INTEGER NOT NULL,
    -- Names of the changed fields, each on a line of its own with a line break on both sides.
    fields TEXT NOT NULL,
    -- JSON list of {field, old, new}.
    changes TEXT NOT NULL,
    PRIMARY KEY (workspace_id, profile_id, id),
    FOREIGN KEY (workspace_id, profile_id) REFERENCES profiles (workspace_id, id)
) STRICT, WITHOUT ROWID;

-- The change feed in commit order: ids and field names, never values.
CREATE TABLE changes (
    workspace_id BLOB NOT NULL REFERENCES workspaces (id),
    seq INTEGER NOT NULL,
    profile_id BLOB NOT NULL,
    kind TEXT NOT NULL,
    version INTEGER NOT NULL,
    -- JSON list of field names.
    fields TEXT NOT NULL,
    at INTEGER NOT NULL,
    actor TEXT NOT NULL,
    request_id TEXT NOT NULL,
    record_id BLOB NOT NULL,
    PRIMARY KEY (workspace_id, seq)
) STRICT, WITHOUT ROWID;

-- The newest number of each workspace's feed. Raised as the last statement of a transaction, so numbers are given in
-- commit order and a reader never sees a later one before an earlier one.
CREATE TABLE change_heads (
    workspace_id BLOB NOT NULL PRIMARY KEY REFERENCES workspaces (id),
    seq INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Answers of requests that carried an Idempotency-Key, kept for a day.
CREATE TABLE idempotency_answers (
    workspace_id BLOB NOT NULL REFERENCES workspaces (id),
    key TEXT NOT NULL,
    -- SHA-256 of method, path and body, in hex.
    fingerprint TEXT NOT NULL,
    status INTEGER NOT NULL,
    -- JSON object of the headers to repeat.
    headers TEXT NOT NULL,
    -- NULL once a person in it was erased.
    body TEXT,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (workspace_id, key)
) STRICT;
-- Answers past their day.
CREATE INDEX idempotency_answers_by_age ON idempotency_answers (workspace_id, created_at);

-- Whom a stored answer speaks of, so that erasure finds it.
CREATE TABLE idempotency_profiles (
    workspace_id BLOB NOT NULL,
    profile_id BLOB NOT NULL,
    key TEXT NOT NULL,
    PRIMARY KEY (workspace_id, profile_id, key),
    FOREIGN KEY (workspace_id, key) REFERENCES idempotency_answers (workspace_id, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX idempotency_profiles_by_key ON idempotency_profiles (workspace_id, key);

-- Receipts: that a person was erased, when, by whom, how much; nothing of the person.
CREATE TABLE erasures (
    workspace_id BLOB NOT NULL REFERENCES workspaces (id),
    id BLOB NOT NULL,
    profile_id BLOB NOT NULL,
    erased_at INTEGER NOT NULL,
    actor TEXT NOT NULL,
    request_id TEXT NOT NULL,
    reason TEXT,
    -- JSON object: rows removed by kind.
    counts TEXT NOT NULL,
    -- When the bytes left the database files.
    scrubbed_at INTEGER,
    PRIMARY KEY (workspace_id, id)
) STRICT;
-- Whether an id was erased (410 instead of 404).
CREATE UNIQUE INDEX erasures_by_profile ON erasures (workspace_id, profile_id);
