-- A label that is renamed or removed stays in the catalogue until a job has changed everybody who carries it: the job, and
-- what the label becomes (NULL: nothing).
ALTER TABLE labels ADD COLUMN job_id BLOB;
ALTER TABLE labels ADD COLUMN becomes TEXT;
