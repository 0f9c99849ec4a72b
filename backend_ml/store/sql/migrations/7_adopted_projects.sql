-- Projects that people bring: the part of an adopted project's label config that its campaign answers, '' for a config of
-- ours; and where a task's data say its picture is, NULL where they name a stamp.
ALTER TABLE campaign ADD COLUMN label_config text NOT NULL DEFAULT '';
ALTER TABLE task ADD COLUMN picture text;
