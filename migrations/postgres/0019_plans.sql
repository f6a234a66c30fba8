-- SQLite has to be told how many rows a workspace and a person have; here the tables are analysed as they grow, by the
-- program and by autovacuum. The number is kept for both.
SELECT 1;
