-- On a large directory this takes longer than a request's statement may.
SET LOCAL statement_timeout = 0;

-- What an event told of its session, as a JSON object; NULL: nothing. When two people are parted again, their sessions are told anew
-- from their own events. What sessions of before were told stands with their first event; where a merge remembers what each of two
-- sessions was told before it joined them, with the first event of each. Merges need not remember it any more.
ALTER TABLE events ADD COLUMN session_properties JSONB;
UPDATE events SET session_properties = s.properties
FROM sessions AS s
WHERE s.properties <> '{}' AND events.workspace_id = s.workspace_id AND events.profile_id = s.profile_id
  AND events.occurred_at = s.started_at AND events.session_id = s.id
  AND NOT EXISTS (SELECT 1 FROM merge_sessions AS m
                  WHERE m.workspace_id = s.workspace_id AND m.profile_id = s.profile_id AND m.into_id = s.id);
UPDATE events SET session_properties = m.properties
FROM merge_sessions AS m
WHERE m.properties <> '{}' AND events.workspace_id = m.workspace_id AND events.profile_id = m.profile_id
  AND events.occurred_at = m.started_at AND events.session_id = m.into_id;
UPDATE merge_sessions SET properties = '{}';
