-- Channels refer to the document, as events do: its row is written with them, that of `profiles` is not looked at. Checked at
-- the commit: programs of before, which may still be running, write them ahead of the document.
ALTER TABLE profile_channels DROP CONSTRAINT profile_channels_workspace_id_profile_id_fkey;
ALTER TABLE profile_channels
    ADD CONSTRAINT profile_channels_of_document FOREIGN KEY (workspace_id, profile_id)
        REFERENCES profile_documents (workspace_id, profile_id) DEFERRABLE INITIALLY DEFERRED;
