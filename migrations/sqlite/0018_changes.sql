-- The change feed is kept for a time: numbers up to this one are gone.
ALTER TABLE change_heads ADD COLUMN kept_from INTEGER NOT NULL DEFAULT 0;
