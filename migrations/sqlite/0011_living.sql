-- Living profiles: what segments and label rules are defined by, and when time alone may change somebody's.

-- Rises with every change of a segment's or a rule's definition, so that a cached copy knows that it is old.
ALTER TABLE workspaces ADD COLUMN living_version INTEGER NOT NULL DEFAULT 0;

ALTER TABLE segments ADD COLUMN description TEXT;
-- The filter as it was sent, JSON.
ALTER TABLE segments ADD COLUMN filter TEXT NOT NULL DEFAULT '{"any":[]}';
-- computing: a job is bringing everyone in line; removing: it is taking everyone out.
ALTER TABLE segments ADD COLUMN status TEXT NOT NULL DEFAULT 'live' CHECK (status IN ('computing', 'live', 'removing'));
-- Rises with every change of the definition: a job for an older one is of no use any more.
ALTER TABLE segments ADD COLUMN definition_version INTEGER NOT NULL DEFAULT 1;
ALTER TABLE segments ADD COLUMN job_id BLOB;
ALTER TABLE segments ADD COLUMN updated_at INTEGER NOT NULL DEFAULT 0;
-- When everyone was last in line with a new definition.
ALTER TABLE segments ADD COLUMN computed_at INTEGER;
UPDATE segments SET updated_at = created_at;

CREATE TABLE label_rules (
    workspace_id BLOB NOT NULL REFERENCES workspaces (id),
    id BLOB NOT NULL,
    label TEXT NOT NULL,
    -- The filter as it was sent, JSON.
    filter TEXT NOT NULL,
    on_exit TEXT NOT NULL CHECK (on_exit IN ('keep', 'remove')),
    enabled INTEGER NOT NULL,
    status TEXT NOT NULL CHECK (status IN ('computing', 'live', 'removing')),
    definition_version INTEGER NOT NULL,
    job_id BLOB,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    computed_at INTEGER,
    PRIMARY KEY (workspace_id, id)
) STRICT, WITHOUT ROWID;

-- The next instant at which time alone may change what somebody belongs to or carries. One row a person, the earliest.
CREATE TABLE profile_due (
    workspace_id BLOB NOT NULL,
    profile_id BLOB NOT NULL,
    due_at INTEGER NOT NULL,
    PRIMARY KEY (workspace_id, profile_id),
    FOREIGN KEY (workspace_id, profile_id) REFERENCES profiles (workspace_id, id)
) STRICT, WITHOUT ROWID;
-- Whose time has come; read for each workspace that has somebody.
CREATE INDEX profile_due_by_time ON profile_due (workspace_id, due_at);
