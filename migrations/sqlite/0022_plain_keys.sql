-- SQLite compares keys by their bytes and keeps JSON as it was written. The number is kept for both.
SELECT 1;
