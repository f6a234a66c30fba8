-- The audit log: who did what and when, over administration and data. Never a value of anybody's. What changed of one
-- person stands in their history; here stand the acts that concern the workspace, and that data was handed out.
CREATE TABLE audit_log (
    workspace_id BLOB NOT NULL REFERENCES workspaces (id),
    id BLOB NOT NULL,
    at INTEGER NOT NULL,
    -- `key:<id>` of an API key, or `cli`.
    actor TEXT NOT NULL,
    -- `api_key.created`, `profiles.exported`, …
    action TEXT NOT NULL,
    -- What it was done to: `api_key` and its id, `property` and its key, …
    target_type TEXT,
    target_id TEXT,
    -- Whose data was handed out. It stays when they are erased, as it does in receipts: an id that leads nowhere.
    profile_id BLOB,
    -- JSON object: names of fields, counts, scopes.
    details TEXT NOT NULL,
    request_id TEXT NOT NULL,
    -- Read newest first: ids rise with time.
    PRIMARY KEY (workspace_id, id)
) STRICT, WITHOUT ROWID;
-- What somebody did.
CREATE INDEX audit_log_by_actor ON audit_log (workspace_id, actor, id);
-- Who did such a thing.
CREATE INDEX audit_log_by_action ON audit_log (workspace_id, action, id);
-- What was done to one thing.
CREATE INDEX audit_log_by_target ON audit_log (workspace_id, target_type, target_id, id);
-- When a person's data was handed out.
CREATE INDEX audit_log_by_profile ON audit_log (workspace_id, profile_id, id) WHERE profile_id IS NOT NULL;

-- It only grows. (On PostgreSQL nothing enforces it, since distributed tables take no triggers.)
CREATE TRIGGER audit_log_is_not_changed BEFORE UPDATE ON audit_log
BEGIN
    SELECT RAISE(ABORT, 'the audit log only grows');
END;
CREATE TRIGGER audit_log_is_not_shortened BEFORE DELETE ON audit_log
BEGIN
    SELECT RAISE(ABORT, 'the audit log only grows');
END;

-- Requests a second of this key, where it has a rate of its own.
ALTER TABLE api_keys ADD COLUMN rate_limit INTEGER;
