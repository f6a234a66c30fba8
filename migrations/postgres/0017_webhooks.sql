-- Webhooks: who is told of the changes of a workspace, and how it went. What is told is not stored: it is read from the
-- change feed when it is sent, so nothing of anybody stands here.

-- The queue of what is due is read across workspaces; a workspace has a few endpoints at most.
CREATE TABLE webhooks (
    workspace_id UUID NOT NULL REFERENCES workspaces (id),
    id UUID NOT NULL,
    url TEXT NOT NULL,
    description TEXT,
    -- Patterns of event types, separated by a space.
    events TEXT NOT NULL,
    payload TEXT NOT NULL CHECK (payload IN ('thin', 'full')),
    -- Secrets that requests are signed with, sealed under the installation's key, in hex. The former one signs beside the
    -- new one for a while after a rotation.
    secret TEXT NOT NULL,
    former_secret TEXT,
    former_secret_until TIMESTAMPTZ,
    -- Number of the last change that was delivered or passed over. Moved in the transaction that notes the outcome.
    seq BIGINT NOT NULL,
    -- NULL while it is enabled.
    disabled_reason TEXT CHECK (disabled_reason IN ('paused', 'gone', 'failing')),
    disabled_at TIMESTAMPTZ,
    -- Attempts at the change after `seq` that failed one after the other, since when, and when the next one is due.
    failures BIGINT NOT NULL DEFAULT 0,
    failing_since TIMESTAMPTZ,
    next_attempt_at TIMESTAMPTZ,
    last_success_at TIMESTAMPTZ,
    last_failure_at TIMESTAMPTZ,
    -- Rises with every claim, and when the endpoint is sent elsewhere in the feed: whoever comes with an older number is
    -- refused.
    attempt BIGINT NOT NULL DEFAULT 0,
    lease_owner UUID,
    lease_until TIMESTAMPTZ,
    created_at TIMESTAMPTZ NOT NULL,
    updated_at TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (workspace_id, id)
);
-- The endpoints that may be due.
CREATE INDEX webhooks_enabled ON webhooks (workspace_id, lease_until) WHERE disabled_reason IS NULL;

-- One row for each event and endpoint: the attempts to deliver it. Rows go with age, and with their endpoint.
CREATE TABLE webhook_deliveries (
    workspace_id UUID NOT NULL REFERENCES workspaces (id),
    webhook_id UUID NOT NULL,
    id UUID NOT NULL,
    -- Number of the change; NULL for a ping.
    seq BIGINT,
    event_type TEXT NOT NULL,
    -- `webhook-id` of the requests.
    message_id TEXT NOT NULL,
    status TEXT NOT NULL CHECK (status IN ('pending', 'delivered', 'failed', 'skipped')),
    -- JSON list, oldest first: when, status code, milliseconds, class of error. The newest of many.
    attempts TEXT NOT NULL,
    attempt_count BIGINT NOT NULL,
    next_attempt_at TIMESTAMPTZ,
    created_at TIMESTAMPTZ NOT NULL,
    -- Read newest first, and forgotten oldest first: ids rise with time.
    PRIMARY KEY (workspace_id, webhook_id, id)
);
-- The row of a change, and that there is one only.
CREATE UNIQUE INDEX webhook_deliveries_by_seq ON webhook_deliveries (workspace_id, webhook_id, seq) WHERE seq IS NOT NULL;
-- What is not over, and what failed: few.
CREATE INDEX webhook_deliveries_open ON webhook_deliveries (workspace_id, webhook_id, status, id) WHERE status <> 'delivered';
