-- What each version was fitted on, so that anybody can fit it again. Renames, people set aside and deletions change what
-- counts, so the label events that counted are noted by number, and with them what their labels were called then.

-- `given` are the numbers of the label events that counted, `blind` those of them that nothing learns from, both as
-- learning/learned_from.py packs them; `labels` is the SHA-256 of what was learned, `recipe` all else that a fit reads.
CREATE TABLE learned_from (
    campaign_id integer NOT NULL,
    version text NOT NULL,
    given bytea NOT NULL,
    blind bytea NOT NULL,
    labels text NOT NULL,
    recipe jsonb NOT NULL,
    PRIMARY KEY (campaign_id, version),
    FOREIGN KEY (campaign_id, version) REFERENCES model_version (campaign_id, version) ON DELETE CASCADE
);

-- Label events that were taken back, since Label Studio knows nothing of them: a version may have learned them.
CREATE TABLE refuted_event (
    LIKE label_event,
    PRIMARY KEY (id),
    FOREIGN KEY (campaign_id) REFERENCES campaign (id) ON DELETE CASCADE
);

-- as before, with the number of the label event
CREATE OR REPLACE VIEW vote AS
SELECT
    campaign_id, stamp_set, stamp_id, label, annotator, NULL::text AS person, happened_at, 'annotation' AS given, id
FROM counted_annotation
WHERE action = 'labelled' AND label IS NOT NULL AND stamp_set IS NOT NULL
UNION ALL
SELECT
    event.campaign_id, event.stamp_set, event.stamp_id,
    coalesce(campaign.renamed ->> event.label, event.label), NULL, NULL, event.happened_at, 'start', event.id
FROM label_event AS event
JOIN campaign ON campaign.id = event.campaign_id
WHERE event.action = 'imported' AND event.label IS NOT NULL AND event.stamp_set IS NOT NULL
UNION ALL
SELECT
    mark.campaign_id, mark.stamp_set, mark.stamp_id, mark.label, mark.annotator, mark.person, mark.happened_at, 'mark',
    mark.id
FROM current_mark AS mark
WHERE mark.action = 'labelled'
    AND NOT EXISTS (
        SELECT FROM current_annotation AS annotation
        WHERE annotation.campaign_id = mark.campaign_id
            AND annotation.stamp_set = mark.stamp_set
            AND annotation.stamp_id = mark.stamp_id
            AND annotation.annotator = mark.annotator
            AND annotation.action = 'labelled'
    )
    AND NOT EXISTS (
        SELECT FROM person_aside AS aside
        WHERE aside.campaign_id = mark.campaign_id
            AND (aside.annotator = mark.annotator OR aside.person = mark.person)
    );
