-- How many files of migrations/ the database has seen.

CREATE TABLE IF NOT EXISTS schema_version (number integer NOT NULL);
INSERT INTO schema_version SELECT 0 WHERE NOT EXISTS (SELECT FROM schema_version);
