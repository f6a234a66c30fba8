-- The channel somebody used last changes with what they do: it stands beside the document, which every event rewrites
-- anyway, and no longer in their row of profiles with all its texts.
ALTER TABLE profile_documents ADD COLUMN last_channel TEXT;
UPDATE profile_documents SET last_channel = p.last_channel
FROM profiles AS p
WHERE p.last_channel IS NOT NULL AND p.workspace_id = profile_documents.workspace_id AND p.id = profile_documents.profile_id;
ALTER TABLE profiles DROP COLUMN last_channel;
-- When each of the two had been heard from, as their documents do not tell.
ALTER TABLE merges ADD COLUMN primary_heard_at TIMESTAMPTZ;
ALTER TABLE merges ADD COLUMN secondary_heard_at TIMESTAMPTZ;
