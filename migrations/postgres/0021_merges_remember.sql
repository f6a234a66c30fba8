-- What taking a merge back has to know beside both documents.
-- JSON: labels and segments of the survivor as they were, with who put them on and when.
ALTER TABLE merges ADD COLUMN primary_rows JSONB;
-- JSON: labels and segments of the survivor once rules and segments had been judged; NULL: both united.
ALTER TABLE merges ADD COLUMN judged JSONB;
-- JSON: with whom the secondary had been decided not to be one.
ALTER TABLE merges ADD COLUMN dismissals JSONB;
-- How often values occur was kept with the values themselves, which may be of people who are erased since. It is counted
-- anew by the next scan, by hashes.
DELETE FROM duplicate_censuses;
UPDATE workspaces SET census_version = census_version + 1;
