-- Where and with what it happened, as a tracking SDK told it: page, campaign, device, …; a JSON object, NULL: nothing was told.
ALTER TABLE events ADD COLUMN context JSONB;
