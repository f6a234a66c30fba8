-- What the planner has to know of four tables. Without statistics SQLite takes a workspace to be as telling as a person,
-- since both lead an index, and checked the foreign keys of somebody who is erased by reading every identity of the
-- workspace, those of a label or a segment by reading everybody's. The numbers are no measurement, they only say: a
-- workspace has very many rows, a label some, a person few. Nobody's values are in them.
ANALYZE sqlite_schema;
DELETE FROM sqlite_stat1 WHERE tbl IN ('profile_identities', 'merges', 'profile_labels', 'profile_segments');
INSERT INTO sqlite_stat1 (tbl, idx, stat) VALUES
    ('profile_identities', 'profile_identities', '1048576 1048576 262144 1'),
    ('profile_identities', 'profile_identities_by_profile', '1048576 1048576 3'),
    ('merges', 'merges', '1048576 1048576 1'),
    ('merges', 'merges_by_profile', '1048576 1048576 2 1'),
    ('profile_labels', 'profile_labels', '1048576 1048576 2 1'),
    ('profile_labels', 'profile_labels_by_label', '1048576 1048576 1000 1'),
    ('profile_segments', 'profile_segments', '1048576 1048576 2 1'),
    ('profile_segments', 'profile_segments_by_segment', '1048576 1048576 1000 1');
