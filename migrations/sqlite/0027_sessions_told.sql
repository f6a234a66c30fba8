-- What an event told of its session, as a JSON object; NULL: nothing. When two people are parted again, their sessions are told anew
-- from their own events. What sessions of before were told stands with their first event.
ALTER TABLE events ADD COLUMN session_properties TEXT;
UPDATE events SET session_properties = s.properties
FROM sessions AS s
WHERE s.properties <> '{}' AND events.workspace_id = s.workspace_id AND events.profile_id = s.profile_id
  AND events.occurred_at = s.started_at AND events.session_id = s.id;
