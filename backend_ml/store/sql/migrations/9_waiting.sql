-- The tasks that wait for a label, of any number of campaigns at once; and indexes of what is looked up by its stamp.

CREATE INDEX task_of_stamp ON task (campaign_id, stamp_set, stamp_id);
CREATE INDEX label_event_marks ON label_event (campaign_id, stamp_set, stamp_id, person, id DESC)
    WHERE source = 'explore' AND annotation_id IS NULL;

-- Each with the labels that it lacks, one at least, and the entropy in nats of those it has.
CREATE VIEW waiting_task AS
WITH tally AS (
    SELECT campaign_id, task_id, label, count(*) AS votes FROM counted_annotation
    WHERE action = 'labelled'
    GROUP BY campaign_id, task_id, label
),
seen AS (
    SELECT campaign_id, task_id, ln(sum(votes)) - sum(votes * ln(votes)) / sum(votes) AS disagreement
    FROM tally GROUP BY campaign_id, task_id
),
-- who is set aside has still labelled, for Label Studio
given AS (
    SELECT campaign_id, task_id, count(*) AS labels FROM current_annotation
    WHERE action = 'labelled'
    GROUP BY campaign_id, task_id
),
-- Label Studio serves such a task to nobody: for it an odd annotation is one like any other
odd AS (
    SELECT campaign_id, task_id, count(*) AS annotations FROM set_aside
    WHERE NOT EXISTS (
        SELECT FROM current_annotation AS earlier
        WHERE earlier.campaign_id = set_aside.campaign_id
            AND earlier.annotation_id = set_aside.annotation_id
            AND earlier.action = 'labelled'
    )
    GROUP BY campaign_id, task_id
)
SELECT
    task.campaign_id, task.task_id, task.stamp_set, task.stamp_id, task.audit,
    greatest(coalesce(seen.disagreement, 0), 0)::double precision AS disagreement,
    greatest(campaign.overlap - coalesce(given.labels, 0), 1)::integer AS lacking
FROM task
JOIN campaign ON campaign.id = task.campaign_id
LEFT JOIN seen ON seen.campaign_id = task.campaign_id AND seen.task_id = task.task_id
LEFT JOIN given ON given.campaign_id = task.campaign_id AND given.task_id = task.task_id
LEFT JOIN odd ON odd.campaign_id = task.campaign_id AND odd.task_id = task.task_id
WHERE NOT task.deleted
    AND coalesce(given.labels, 0) + coalesce(odd.annotations, 0) < campaign.overlap
    -- what was said on the search page, of one mind and not "unsure", needs no annotation; of most stamps nothing was
    AND (
        NOT EXISTS (
            SELECT FROM label_event AS said
            WHERE said.campaign_id = task.campaign_id
                AND said.stamp_set = task.stamp_set
                AND said.stamp_id = task.stamp_id
                AND said.source = 'explore'
                AND said.annotation_id IS NULL
        )
        OR NOT EXISTS (
            SELECT FROM current_mark AS mark
            WHERE mark.campaign_id = task.campaign_id
                AND mark.stamp_set = task.stamp_set
                AND mark.stamp_id = task.stamp_id
                AND mark.action = 'labelled'
            GROUP BY mark.stamp_id
            HAVING count(DISTINCT mark.label) = 1 AND min(mark.label) <> 'unsure'
        )
    );
