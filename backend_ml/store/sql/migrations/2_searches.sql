-- Campaigns that begin on the search page: they have no Label Studio project until they are sent there, and their
-- answers are label events without an annotation.

ALTER TABLE campaign ALTER COLUMN project_id DROP NOT NULL;

-- Who gave an answer on the search page, as the page showed them; `annotator` is set too where Label Studio knows them.
ALTER TABLE label_event ADD COLUMN person text;
ALTER TABLE label_event DROP CONSTRAINT label_event_action_check;
ALTER TABLE label_event ADD CONSTRAINT label_event_action_check
    CHECK (action IN ('labelled', 'skipped', 'deleted', 'imported', 'withdrawn'));
ALTER TABLE label_event DROP CONSTRAINT label_event_source_check;
ALTER TABLE label_event ADD CONSTRAINT label_event_source_check
    CHECK (source IN ('webhook', 'reconcile', 'snapshot', 'explore'));
CREATE INDEX label_event_of_stamp ON label_event (campaign_id, stamp_set, stamp_id);

-- What each person last said of a stamp on the search page; 'withdrawn' where they took it back.
CREATE VIEW current_mark AS
SELECT DISTINCT ON (campaign_id, stamp_set, stamp_id, person)
    id, campaign_id, action, stamp_set, stamp_id, label, annotator, person, happened_at
FROM label_event
WHERE source = 'explore' AND annotation_id IS NULL
ORDER BY campaign_id, stamp_set, stamp_id, person, id DESC;

-- One row an answer that counts. Who annotates in Label Studio what they had marked on the search page counts once.
CREATE VIEW vote AS
SELECT campaign_id, stamp_set, stamp_id, label, annotator, NULL::text AS person, happened_at, 'annotation' AS given
FROM current_annotation
WHERE action = 'labelled' AND label IS NOT NULL AND stamp_set IS NOT NULL
UNION ALL
SELECT campaign_id, stamp_set, stamp_id, label, NULL, NULL, happened_at, 'start'
FROM label_event
WHERE action = 'imported' AND label IS NOT NULL AND stamp_set IS NOT NULL
UNION ALL
SELECT mark.campaign_id, mark.stamp_set, mark.stamp_id, mark.label, mark.annotator, mark.person, mark.happened_at, 'mark'
FROM current_mark AS mark
WHERE mark.action = 'labelled'
    AND NOT EXISTS (
        SELECT FROM current_annotation AS annotation
        WHERE annotation.campaign_id = mark.campaign_id
            AND annotation.stamp_set = mark.stamp_set
            AND annotation.stamp_id = mark.stamp_id
            AND annotation.annotator = mark.annotator
            AND annotation.action = 'labelled'
    );

CREATE OR REPLACE VIEW current_label AS
SELECT DISTINCT ON (campaign_id, stamp_set, stamp_id) campaign_id, stamp_set, stamp_id, label, votes, latest
FROM (
    SELECT campaign_id, stamp_set, stamp_id, label, count(*) AS votes, max(happened_at) AS latest
    FROM vote
    GROUP BY campaign_id, stamp_set, stamp_id, label
) AS tally
ORDER BY campaign_id, stamp_set, stamp_id, votes DESC, latest DESC, label;
