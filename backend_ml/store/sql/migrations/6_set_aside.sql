-- What could not be read and is set aside, notices by whoever gives them, and stamps of annotations as the tasks say.

-- An annotation, as Label Studio has it now, that cannot be a label event; gone when it is corrected or deleted there.
CREATE TABLE set_aside (
    campaign_id integer NOT NULL REFERENCES campaign (id) ON DELETE CASCADE,
    annotation_id bigint NOT NULL,
    task_id bigint NOT NULL,
    reason text NOT NULL,
    at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (campaign_id, annotation_id)
);
CREATE INDEX inbox_failed ON inbox (project_id) WHERE error IS NOT NULL;

-- What the team should know; each source sets and clears its own.
CREATE TABLE notice (
    campaign_id integer NOT NULL REFERENCES campaign (id) ON DELETE CASCADE,
    source text NOT NULL,
    text text NOT NULL,
    at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (campaign_id, source)
);
INSERT INTO notice (campaign_id, source, text)
SELECT id, 'label config', notice FROM campaign WHERE notice IS NOT NULL
UNION ALL
SELECT id, 'serving', serving_notice FROM campaign WHERE serving_notice IS NOT NULL;
ALTER TABLE campaign DROP COLUMN notice, DROP COLUMN serving_notice;

-- Times that no program can read again, of annotations whose time somebody made up.
DELETE FROM label_event WHERE happened_at NOT BETWEEN '1970-01-01Z' AND '9000-01-01Z';

-- The stamp is the task's: an annotation may come before its task is remembered.
CREATE OR REPLACE VIEW current_annotation AS
SELECT DISTINCT ON (event.campaign_id, event.annotation_id)
    event.id, event.campaign_id, event.action, event.task_id, event.annotation_id, task.stamp_set, task.stamp_id,
    event.label, event.annotator, event.result, event.parent_prediction, event.lead_time, event.source,
    event.happened_at, event.recorded_at
FROM label_event AS event
LEFT JOIN task ON task.campaign_id = event.campaign_id AND task.task_id = event.task_id
WHERE event.annotation_id IS NOT NULL
    AND NOT coalesce(task.deleted, false)
    AND NOT EXISTS (
        SELECT FROM label_event AS gone
        WHERE gone.campaign_id = event.campaign_id
            AND gone.annotation_id = event.annotation_id
            AND gone.action = 'deleted'
    )
ORDER BY event.campaign_id, event.annotation_id, event.happened_at DESC, event.id DESC;
