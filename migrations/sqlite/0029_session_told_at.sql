-- When the event happened that told each property of a session (JSON object: microseconds since 1970 by name), so that the latest word
-- counts in whatever order events arrive. NULL: nothing was told, or before this was noted; then it counts as told when the session began.
ALTER TABLE sessions ADD COLUMN told_at TEXT;
