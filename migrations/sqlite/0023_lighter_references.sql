-- A statement that writes many rows and can fail at any of them keeps the former of every page it changes, to undo itself
-- alone. Ours are undone with their transaction, so they are told not to (`OR FAIL`); a reference that is checked at the end
-- of the statement would ask for it all the same. Checked at the end of the transaction it does not. Whether a row refers to
-- something is asked when it is written, as before.
-- Channels refer to the document, as events do: its row is written with them, that of `profiles` is not looked at.
--
-- Constraints that change nothing about the rows are changed in the schema's own text, as SQLite advises
-- (https://www.sqlite.org/lang_altertable.html#otheralter).
PRAGMA writable_schema = ON;

UPDATE sqlite_schema
SET sql = replace(sql, 'REFERENCES profiles (workspace_id, id)', 'REFERENCES profile_documents (workspace_id, profile_id)')
WHERE type = 'table' AND name = 'profile_channels';

UPDATE sqlite_schema
SET sql = replace(replace(replace(sql,
    'REFERENCES profiles (workspace_id, id)', 'REFERENCES profiles (workspace_id, id) DEFERRABLE INITIALLY DEFERRED'),
    'REFERENCES profile_documents (workspace_id, profile_id)', 'REFERENCES profile_documents (workspace_id, profile_id) DEFERRABLE INITIALLY DEFERRED'),
    'REFERENCES labels (workspace_id, name)', 'REFERENCES labels (workspace_id, name) DEFERRABLE INITIALLY DEFERRED')
WHERE type = 'table' AND name IN (
    'consent_ledger', 'duplicate_keys', 'events', 'profile_channels', 'profile_consents', 'profile_documents', 'profile_history',
    'profile_identities', 'profile_labels', 'sessions'
);

-- Other connections read the schema anew when its version changes, and this one when it is told to.
CREATE TABLE schema_turns (turned INTEGER) STRICT;
DROP TABLE schema_turns;
PRAGMA writable_schema = RESET;
