-- The directory: workspaces, their people, and what is recorded beside every change.
-- workspace_id leads every key and index: that is tenant isolation, and what lets Citus distribute every table by it.
-- No triggers, no sequences, no ON DELETE SET NULL, no stored now(): times and ids come from the application.

-- Any part of any text, and the tenant in the same index.
CREATE EXTENSION IF NOT EXISTS pg_trgm;
CREATE EXTENSION IF NOT EXISTS btree_gin;

CREATE TABLE workspaces (
    id UUID NOT NULL PRIMARY KEY,
    name TEXT NOT NULL,
    default_country TEXT,
    strict_attributes BOOLEAN NOT NULL DEFAULT false,
    session_gap_seconds BIGINT NOT NULL DEFAULT 1800,
    time_zone TEXT NOT NULL DEFAULT 'UTC',
    -- Rises with every change of a property definition, so that a cached copy knows that it is old.
    definitions_version BIGINT NOT NULL DEFAULT 0,
    created_at TIMESTAMPTZ NOT NULL
);

-- Read across workspaces (a key is looked up before its workspace is known); kept small.
CREATE TABLE api_keys (
    id UUID NOT NULL PRIMARY KEY,
    workspace_id UUID NOT NULL,
    name TEXT NOT NULL,
    -- Space-separated, sorted.
    scopes TEXT NOT NULL,
    trust TEXT NOT NULL CHECK (trust IN ('server', 'browser')),
    -- SHA-256 of the whole key, in hex. The key itself is shown once and stored nowhere.
    secret_hash TEXT NOT NULL,
    created_at TIMESTAMPTZ NOT NULL,
    last_used_at TIMESTAMPTZ,
    revoked_at TIMESTAMPTZ
);
-- Authentication looks a key up by its hash.
CREATE UNIQUE INDEX api_keys_by_hash ON api_keys (secret_hash);
-- The keys of one workspace, newest last.
CREATE INDEX api_keys_by_workspace ON api_keys (workspace_id, id);

-- What is asked of people: narrow rows that filters, sorts and search walk. The answer itself is in profile_documents.
CREATE TABLE profiles (
    workspace_id UUID NOT NULL REFERENCES workspaces (id),
    id UUID NOT NULL,
    version BIGINT NOT NULL,
    -- 0001-01-01 for people never seen, so that they come last in the newest-first order.
    last_seen_at TIMESTAMPTZ NOT NULL,
    created_at TIMESTAMPTZ NOT NULL,
    updated_at TIMESTAMPTZ NOT NULL,
    -- The folded name, U+10FFFF where there is none.
    name_key TEXT COLLATE "C" NOT NULL,
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
    folded JSONB NOT NULL,
    -- Custom attributes in the form conditions compare: text as it is, numbers, dates and times as numbers
    -- (microseconds), booleans, lists of texts.
    comparables JSONB NOT NULL,
    PRIMARY KEY (workspace_id, id)
);
-- The four orders of a list, each with the id as tie-break; read backwards for the other direction.
CREATE INDEX profiles_by_last_seen ON profiles (workspace_id, last_seen_at, id);
CREATE INDEX profiles_by_created ON profiles (workspace_id, created_at, id);
CREATE INDEX profiles_by_updated ON profiles (workspace_id, updated_at, id);
CREATE INDEX profiles_by_name ON profiles (workspace_id, name_key, id);
-- Everybody of a country.
CREATE INDEX profiles_by_country ON profiles (workspace_id, country, last_seen_at, id);

-- The document of a person, byte for byte what the API answers: reading one person is reading one row.
CREATE TABLE profile_documents (
    workspace_id UUID NOT NULL,
    profile_id UUID NOT NULL,
    version BIGINT NOT NULL,
    document TEXT NOT NULL,
    PRIMARY KEY (workspace_id, profile_id),
    FOREIGN KEY (workspace_id, profile_id) REFERENCES profiles (workspace_id, id)
);

-- Any part of any text, three characters and up; one tenant's search never walks another's rows. New rows wait in a
-- short list (1 MB) before they are sorted in: half the cost of a write, and little to read past.
CREATE INDEX profiles_by_text ON profiles USING gin (workspace_id, search_text gin_trgm_ops) WITH (gin_pending_list_limit = 1024);
-- Rare values of custom attributes.
CREATE INDEX profiles_by_comparables ON profiles USING gin (workspace_id, comparables jsonb_path_ops) WITH (gin_pending_list_limit = 1024);

-- One key, one person: the database's promise for every kind.
CREATE TABLE profile_identities (
    workspace_id UUID NOT NULL,
    kind TEXT NOT NULL,
    value TEXT NOT NULL,
    profile_id UUID NOT NULL,
    -- Whose it was before any merge.
    origin_profile_id UUID NOT NULL,
    created_at TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (workspace_id, kind, value),
    FOREIGN KEY (workspace_id, profile_id) REFERENCES profiles (workspace_id, id)
);
CREATE INDEX profile_identities_by_profile ON profile_identities (workspace_id, profile_id);

CREATE TABLE properties (
    workspace_id UUID NOT NULL REFERENCES workspaces (id),
    key TEXT NOT NULL,
    type TEXT NOT NULL,
    label TEXT,
    description TEXT,
    -- JSON list of texts.
    options JSONB NOT NULL,
    searchable BOOLEAN NOT NULL,
    pii BOOLEAN NOT NULL,
    matching TEXT NOT NULL,
    created_at TIMESTAMPTZ NOT NULL,
    updated_at TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (workspace_id, key)
);

-- Search text still to be brought in line with a property that became searchable, or ceased to be.
CREATE TABLE search_refreshes (
    workspace_id UUID NOT NULL REFERENCES workspaces (id),
    key TEXT NOT NULL,
    -- Where the walk over everyone stands.
    after_profile_id UUID,
    requested_at TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (workspace_id, key)
);

CREATE TABLE labels (
    workspace_id UUID NOT NULL REFERENCES workspaces (id),
    name TEXT NOT NULL,
    color TEXT,
    description TEXT,
    created_at TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (workspace_id, name)
);

CREATE TABLE profile_labels (
    workspace_id UUID NOT NULL,
    profile_id UUID NOT NULL,
    label TEXT NOT NULL,
    source TEXT NOT NULL CHECK (source IN ('manual', 'rule')),
    rule_id UUID,
    actor TEXT NOT NULL,
    created_at TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (workspace_id, profile_id, label),
    FOREIGN KEY (workspace_id, profile_id) REFERENCES profiles (workspace_id, id),
    FOREIGN KEY (workspace_id, label) REFERENCES labels (workspace_id, name)
);
-- Everyone with a label.
CREATE INDEX profile_labels_by_label ON profile_labels (workspace_id, label, profile_id);

CREATE TABLE segments (
    workspace_id UUID NOT NULL REFERENCES workspaces (id),
    id UUID NOT NULL,
    name TEXT NOT NULL,
    created_at TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (workspace_id, id)
);

CREATE TABLE profile_segments (
    workspace_id UUID NOT NULL,
    profile_id UUID NOT NULL,
    segment_id UUID NOT NULL,
    entered_at TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (workspace_id, profile_id, segment_id),
    FOREIGN KEY (workspace_id, profile_id) REFERENCES profiles (workspace_id, id),
    FOREIGN KEY (workspace_id, segment_id) REFERENCES segments (workspace_id, id)
);
-- Everyone in a segment.
CREATE INDEX profile_segments_by_segment ON profile_segments (workspace_id, segment_id, profile_id);

CREATE TABLE profile_channels (
    workspace_id UUID NOT NULL,
    profile_id UUID NOT NULL,
    channel TEXT NOT NULL,
    PRIMARY KEY (workspace_id, profile_id, channel),
    FOREIGN KEY (workspace_id, profile_id) REFERENCES profiles (workspace_id, id)
);
-- Everyone seen on a channel.
CREATE INDEX profile_channels_by_channel ON profile_channels (workspace_id, channel, profile_id);

-- Where each person stands on each channel, derived from the ledger.
CREATE TABLE profile_consents (
    workspace_id UUID NOT NULL,
    profile_id UUID NOT NULL,
    channel TEXT NOT NULL,
    status TEXT NOT NULL CHECK (status IN ('opted_in', 'opted_out', 'pending', 'unknown')),
    PRIMARY KEY (workspace_id, profile_id, channel),
    FOREIGN KEY (workspace_id, profile_id) REFERENCES profiles (workspace_id, id)
);
-- Everyone with a status on a channel.
CREATE INDEX profile_consents_by_status ON profile_consents (workspace_id, channel, status, profile_id);

-- Every decision ever made or reported, in the order it was recorded. Rows are added and, on erasure, removed.
CREATE TABLE consent_ledger (
    workspace_id UUID NOT NULL,
    profile_id UUID NOT NULL,
    id UUID NOT NULL,
    channel TEXT NOT NULL,
    status TEXT NOT NULL CHECK (status IN ('opted_in', 'opted_out', 'pending', 'unknown')),
    occurred_at TIMESTAMPTZ NOT NULL,
    recorded_at TIMESTAMPTZ NOT NULL,
    source TEXT,
    evidence TEXT,
    actor TEXT NOT NULL,
    request_id TEXT NOT NULL,
    origin_profile_id UUID NOT NULL,
    PRIMARY KEY (workspace_id, profile_id, id),
    FOREIGN KEY (workspace_id, profile_id) REFERENCES profiles (workspace_id, id)
);

-- What a person did. Filled by ingestion; behavioural filters read it.
CREATE TABLE events (
    workspace_id UUID NOT NULL,
    profile_id UUID NOT NULL,
    occurred_at TIMESTAMPTZ NOT NULL,
    id UUID NOT NULL,
    type TEXT NOT NULL,
    channel TEXT,
    properties JSONB NOT NULL,
    PRIMARY KEY (workspace_id, profile_id, occurred_at, id),
    FOREIGN KEY (workspace_id, profile_id) REFERENCES profiles (workspace_id, id)
);
-- How often a person did a thing lately.
CREATE INDEX events_by_type ON events (workspace_id, profile_id, type, occurred_at);

-- The audit trail: what changed, field by field, who changed it, through which request.
CREATE TABLE profile_history (
    workspace_id UUID NOT NULL,
    profile_id UUID NOT NULL,
    id UUID NOT NULL,
    at TIMESTAMPTZ NOT NULL,
    action TEXT NOT NULL,
    source TEXT NOT NULL,
    actor TEXT NOT NULL,
    request_id TEXT NOT NULL,
    reason TEXT,
    version BIGINT NOT NULL,
    -- Names of the changed fields, each on a line of its own with a line break on both sides.
    fields TEXT NOT NULL,
    -- JSON list of {field, old, new}.
    changes JSONB NOT NULL,
    PRIMARY KEY (workspace_id, profile_id, id),
    FOREIGN KEY (workspace_id, profile_id) REFERENCES profiles (workspace_id, id)
);

-- The change feed in commit order: ids and field names, never values.
CREATE TABLE changes (
    workspace_id UUID NOT NULL REFERENCES workspaces (id),
    seq BIGINT NOT NULL,
    profile_id UUID NOT NULL,
    kind TEXT NOT NULL,
    version BIGINT NOT NULL,
    -- JSON list of field names.
    fields JSONB NOT NULL,
    at TIMESTAMPTZ NOT NULL,
    actor TEXT NOT NULL,
    request_id TEXT NOT NULL,
    record_id UUID NOT NULL,
    PRIMARY KEY (workspace_id, seq)
);

-- The newest number of each workspace's feed. Raised as the last statement of a transaction, so numbers are given in
-- commit order and a reader never sees a later one before an earlier one.
CREATE TABLE change_heads (
    workspace_id UUID NOT NULL PRIMARY KEY REFERENCES workspaces (id),
    seq BIGINT NOT NULL
);

-- Answers of requests that carried an Idempotency-Key, kept for a day.
CREATE TABLE idempotency_answers (
    workspace_id UUID NOT NULL REFERENCES workspaces (id),
    key TEXT NOT NULL,
    -- SHA-256 of method, path and body, in hex.
    fingerprint TEXT NOT NULL,
    status BIGINT NOT NULL,
    -- JSON object of the headers to repeat.
    headers JSONB NOT NULL,
    -- NULL once a person in it was erased.
    body TEXT,
    created_at TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (workspace_id, key)
);
-- Answers past their day.
CREATE INDEX idempotency_answers_by_age ON idempotency_answers (workspace_id, created_at);

-- Whom a stored answer speaks of, so that erasure finds it.
CREATE TABLE idempotency_profiles (
    workspace_id UUID NOT NULL,
    profile_id UUID NOT NULL,
    key TEXT NOT NULL,
    PRIMARY KEY (workspace_id, profile_id, key),
    FOREIGN KEY (workspace_id, key) REFERENCES idempotency_answers (workspace_id, key)
);
CREATE INDEX idempotency_profiles_by_key ON idempotency_profiles (workspace_id, key);

-- Receipts: that a person was erased, when, by whom, how much; nothing of the person.
CREATE TABLE erasures (
    workspace_id UUID NOT NULL REFERENCES workspaces (id),
    id UUID NOT NULL,
    profile_id UUID NOT NULL,
    erased_at TIMESTAMPTZ NOT NULL,
    actor TEXT NOT NULL,
    request_id TEXT NOT NULL,
    reason TEXT,
    -- JSON object: rows removed by kind.
    counts JSONB NOT NULL,
    -- When the bytes left the database files.
    scrubbed_at TIMESTAMPTZ,
    PRIMARY KEY (workspace_id, id)
);
-- Whether an id was erased (410 instead of 404).
CREATE UNIQUE INDEX erasures_by_profile ON erasures (workspace_id, profile_id);
