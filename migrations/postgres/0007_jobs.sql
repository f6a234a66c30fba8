-- Jobs: work that goes on after its request was answered, step by step. One table for every kind.

-- The queue is read across workspaces, and kept small by the index on what is not finished.
CREATE TABLE jobs (
    workspace_id UUID NOT NULL REFERENCES workspaces (id),
    id UUID NOT NULL,
    kind TEXT NOT NULL,
    status TEXT NOT NULL CHECK (status IN ('queued', 'running', 'succeeded', 'failed', 'cancelled')),
    -- JSON of the kind's own: what to do. It may name people, so it is emptied when the job ends.
    parameters TEXT NOT NULL,
    -- JSON of the kind's own: where the next step begins. Written with the work of a step, emptied at the end.
    checkpoint TEXT NOT NULL,
    -- JSON object that the API shows: nothing of anybody's.
    details TEXT NOT NULL,
    -- NULL until it is known.
    total BIGINT,
    processed BIGINT NOT NULL,
    succeeded BIGINT NOT NULL,
    failed BIGINT NOT NULL,
    error_code TEXT,
    error_detail TEXT,
    -- Rises with every claim and with the cancelling: whoever comes with an older number is refused.
    attempt BIGINT NOT NULL,
    lease_owner UUID,
    lease_until TIMESTAMPTZ,
    actor TEXT NOT NULL,
    request_id TEXT NOT NULL,
    reason TEXT,
    created_at TIMESTAMPTZ NOT NULL,
    started_at TIMESTAMPTZ,
    finished_at TIMESTAMPTZ,
    updated_at TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (workspace_id, id)
);
-- What is to be worked on, the longest untouched first.
CREATE INDEX jobs_open ON jobs (workspace_id, updated_at) WHERE status IN ('queued', 'running');
-- What is old enough to be forgotten.
CREATE INDEX jobs_by_end ON jobs (workspace_id, finished_at) WHERE finished_at IS NOT NULL;

-- What became of single rows or people that a job could not do.
CREATE TABLE job_errors (
    workspace_id UUID NOT NULL,
    job_id UUID NOT NULL,
    -- Line of the file, or place in the selection, from 1.
    position BIGINT NOT NULL,
    code TEXT NOT NULL,
    detail TEXT NOT NULL,
    -- Whom it was about, when somebody's id was known. No name, no key, no value.
    profile_id UUID,
    PRIMARY KEY (workspace_id, job_id, position),
    FOREIGN KEY (workspace_id, job_id) REFERENCES jobs (workspace_id, id)
);
-- Erasure and merges look here for people.
CREATE INDEX job_errors_by_profile ON job_errors (workspace_id, profile_id) WHERE profile_id IS NOT NULL;

-- What a job works through, in pieces: the people selected, the rows of a file. Any instance can go on with it. A piece
-- may be there before its job is, while it is still coming in; it goes when the job ends.
CREATE TABLE job_inputs (
    workspace_id UUID NOT NULL REFERENCES workspaces (id),
    job_id UUID NOT NULL,
    piece BIGINT NOT NULL,
    content BYTEA NOT NULL,
    created_at TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (workspace_id, job_id, piece)
);
-- Pieces whose job never came.
CREATE INDEX job_inputs_by_age ON job_inputs (workspace_id, created_at);
