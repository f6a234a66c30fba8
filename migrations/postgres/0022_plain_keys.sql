-- On a large directory this takes longer than a request's statement may.
SET LOCAL statement_timeout = 0;

-- Keys are compared by their bytes, as SQLite does: by the rules of a language each comparison costs several times as much,
-- and the order of a list would depend on how a server was set up. Indexes on these columns are built anew.
ALTER TABLE api_keys ALTER COLUMN secret_hash TYPE TEXT COLLATE "C";
ALTER TABLE audit_log
    ALTER COLUMN action TYPE TEXT COLLATE "C",
    ALTER COLUMN actor TYPE TEXT COLLATE "C",
    ALTER COLUMN target_id TYPE TEXT COLLATE "C",
    ALTER COLUMN target_type TYPE TEXT COLLATE "C";
ALTER TABLE duplicate_suggestions ALTER COLUMN status TYPE TEXT COLLATE "C";
ALTER TABLE events
    ALTER COLUMN type TYPE TEXT COLLATE "C",
    ALTER COLUMN source TYPE TEXT COLLATE "C",
    ALTER COLUMN message_id TYPE TEXT COLLATE "C";
ALTER TABLE sessions ALTER COLUMN channel TYPE TEXT COLLATE "C", ALTER COLUMN sender_id TYPE TEXT COLLATE "C";
ALTER TABLE idempotency_answers ALTER COLUMN key TYPE TEXT COLLATE "C";
ALTER TABLE idempotency_profiles ALTER COLUMN key TYPE TEXT COLLATE "C";
ALTER TABLE labels ALTER COLUMN name TYPE TEXT COLLATE "C";
ALTER TABLE profile_labels ALTER COLUMN label TYPE TEXT COLLATE "C";
ALTER TABLE profile_channels ALTER COLUMN channel TYPE TEXT COLLATE "C";
ALTER TABLE profile_consents ALTER COLUMN channel TYPE TEXT COLLATE "C";
ALTER TABLE profile_identities ALTER COLUMN kind TYPE TEXT COLLATE "C", ALTER COLUMN value TYPE TEXT COLLATE "C";
ALTER TABLE properties ALTER COLUMN key TYPE TEXT COLLATE "C";
ALTER TABLE search_refreshes ALTER COLUMN key TYPE TEXT COLLATE "C";
ALTER TABLE suppressions ALTER COLUMN hash TYPE TEXT COLLATE "C", ALTER COLUMN kind TYPE TEXT COLLATE "C";
ALTER TABLE webhook_deliveries ALTER COLUMN status TYPE TEXT COLLATE "C";

-- JSON that no question looks into is kept as it was written, and not taken apart and put together again each time.
ALTER TABLE profile_history ALTER COLUMN changes TYPE TEXT;
ALTER TABLE changes ALTER COLUMN fields TYPE TEXT;

-- The pieces of a file are read a few times and go with their job: compressing them costs more than they are worth. Citus does
-- not know this of tables that are distributed already.
DO $$
BEGIN
    IF NOT EXISTS (SELECT 1 FROM pg_extension WHERE extname = 'citus') THEN
        ALTER TABLE job_inputs ALTER COLUMN content SET STORAGE EXTERNAL;
    END IF;
END $$;

-- A change takes its number from the head of its workspace's feed, which has this foreign key; so it need not be looked up
-- for each change.
ALTER TABLE changes DROP CONSTRAINT changes_workspace_id_fkey;
