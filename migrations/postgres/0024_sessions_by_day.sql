-- The key of a session held when it ended, so each event that went on with one wrote all of its indexes anew. It holds the
-- day now; what changes during a day is in no index, and the row stays in its page where there is room.
-- Programs of before, which may still be running, need not know of the column.

-- A column that another is made of cannot be given its type again, which is how samples of an empty table are forgotten
-- (store/src/scrub/postgres.rs). So those there are go now, and no more are taken; nothing is planned by them.
ALTER TABLE sessions ALTER COLUMN ended_at TYPE TIMESTAMPTZ;
ALTER TABLE sessions ALTER COLUMN ended_at SET STATISTICS 0;
ALTER TABLE sessions ADD COLUMN ended_day TIMESTAMPTZ NOT NULL
    GENERATED ALWAYS AS (date_bin(INTERVAL '1 day', ended_at, TIMESTAMPTZ '0001-01-01 00:00:00+00 BC')) STORED;
ALTER TABLE sessions DROP CONSTRAINT sessions_pkey;
-- Those that ended lately stand together: what an arriving event may belong to, and the first page of a list.
ALTER TABLE sessions ADD CONSTRAINT sessions_pkey PRIMARY KEY (workspace_id, profile_id, ended_day, id);
ALTER TABLE sessions SET (fillfactor = 80);
