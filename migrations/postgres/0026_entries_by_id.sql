-- On a large directory this takes longer than a request's statement may.
SET LOCAL statement_timeout = 0;

-- What became of a profile stands on its timeline, as an event with the id of the entry: each of these is read by it.
CREATE INDEX profile_history_by_id ON profile_history (workspace_id, id);
