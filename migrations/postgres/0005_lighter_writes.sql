-- What happens most often touches as little as possible. An event rewrites its person's document and nothing else of
-- theirs: when they were last seen, and how often they did what, stand beside the document. Lists are ordered and
-- filters answered in memory; what SQL needs for that while a model is being loaded, it reads from the rows themselves,
-- so the indexes that every write paid for go.

-- 0001-01-01 for people never seen, so that they come last in the newest-first order.
ALTER TABLE profile_documents ADD COLUMN last_seen_at TIMESTAMPTZ NOT NULL DEFAULT '0001-01-01T00:00:00Z';
-- Its day since 1970: what the index knows, so that only the first event of a day moves a person in it.
ALTER TABLE profile_documents ADD COLUMN seen_day BIGINT NOT NULL DEFAULT -719162;
-- By type of event, how many, the first, the last (see domain::activity).
ALTER TABLE profile_documents ADD COLUMN activity JSONB NOT NULL DEFAULT '{}';
UPDATE profile_documents AS d
SET last_seen_at = p.last_seen_at, seen_day = floor(extract(epoch FROM p.last_seen_at) / 86400)::bigint
FROM profiles AS p WHERE p.workspace_id = d.workspace_id AND p.id = d.profile_id;
UPDATE profile_documents AS d
SET activity = t.activity
FROM (
    SELECT s.workspace_id, s.profile_id,
           jsonb_object_agg(':' || replace(replace(replace(s.type, '%', '%25'), '"', '%22'), '\', '%5C'), jsonb_build_array(s.n, s.first, s.last)) AS activity
    FROM (
        SELECT workspace_id, profile_id, type, count(*) AS n,
               (extract(epoch FROM min(occurred_at)) * 1000000)::bigint AS first,
               (extract(epoch FROM max(occurred_at)) * 1000000)::bigint AS last
        FROM events GROUP BY workspace_id, profile_id, type
    ) AS s
    GROUP BY s.workspace_id, s.profile_id
) AS t
WHERE t.workspace_id = d.workspace_id AND t.profile_id = d.profile_id;
-- Room on each page for the next version of a document: no index learns of it then.
ALTER TABLE profile_documents SET (fillfactor = 75);
-- The newest seen come first in a list. Without the id, so that nobody is looked up here.
CREATE INDEX profile_documents_by_day ON profile_documents (workspace_id, seen_day);

DROP INDEX profiles_by_last_seen;
DROP INDEX profiles_by_updated;
DROP INDEX profiles_by_name;
DROP INDEX profiles_by_country;
DROP INDEX profiles_by_comparables;
DROP INDEX profile_channels_by_channel;
DROP INDEX profile_consents_by_status;
ALTER TABLE profiles DROP COLUMN version;
ALTER TABLE profiles DROP COLUMN last_seen_at;

-- Events and sessions belong to whom there is a document of: the row that every write of a person locks anyway.
DROP INDEX events_by_session;
ALTER TABLE events DROP CONSTRAINT events_workspace_id_profile_id_fkey;
ALTER TABLE events ADD CONSTRAINT events_of_a_person FOREIGN KEY (workspace_id, profile_id) REFERENCES profile_documents (workspace_id, profile_id);

DROP INDEX sessions_by_profile;
DROP INDEX sessions_by_end;
DROP INDEX sessions_by_sender;
-- The session its sender names.
CREATE INDEX sessions_by_sender ON sessions (workspace_id, sender_id) WHERE sender_id IS NOT NULL;
ALTER TABLE sessions DROP CONSTRAINT sessions_pkey;
-- Those that ended lately stand together: what an arriving event may belong to, and the first page of a list.
ALTER TABLE sessions ADD CONSTRAINT sessions_pkey PRIMARY KEY (workspace_id, profile_id, ended_at, id);
-- One session by its id.
CREATE UNIQUE INDEX sessions_by_id ON sessions (workspace_id, id);
ALTER TABLE sessions DROP CONSTRAINT sessions_workspace_id_profile_id_fkey;
ALTER TABLE sessions ADD CONSTRAINT sessions_of_a_person FOREIGN KEY (workspace_id, profile_id) REFERENCES profile_documents (workspace_id, profile_id);
