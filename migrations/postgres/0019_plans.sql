-- SQLite has to be told what this engine finds out by itself (autovacuum analyses): how many rows a workspace and a
-- person have. The number is kept for both.
SELECT 1;
