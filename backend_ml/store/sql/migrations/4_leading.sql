-- What a leader may change in a running campaign, and what was changed.

ALTER TABLE campaign
    DROP CONSTRAINT campaign_state_check,
    ADD CONSTRAINT campaign_state_check CHECK (state IN ('open', 'paused', 'closed')),
    -- what labels count as by now, by what people said: all steps of `renamed_class` in one
    ADD COLUMN renamed jsonb NOT NULL DEFAULT '{}',
    -- whether pictures are shown to who is signed in alone
    ADD COLUMN links_lapsed boolean NOT NULL DEFAULT false;
UPDATE campaign SET links_lapsed = true WHERE state = 'closed';

-- Who changed what of a campaign, and when.
CREATE TABLE change (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    campaign_id integer NOT NULL REFERENCES campaign (id) ON DELETE CASCADE,
    person text NOT NULL,
    what text NOT NULL,
    details jsonb NOT NULL DEFAULT '{}',
    at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX change_of_campaign ON change (campaign_id, id);

-- A class that another name was given to, or that was merged into another one: where it stood, and what was simulated then.
CREATE TABLE renamed_class (
    campaign_id integer NOT NULL REFERENCES campaign (id) ON DELETE CASCADE,
    said text NOT NULL,
    counts_as text NOT NULL,
    merged boolean NOT NULL,
    place integer NOT NULL,
    simulated jsonb NOT NULL,
    PRIMARY KEY (campaign_id, said)
);

-- A person whose labels do not count for now; `annotator` where Label Studio knows them.
CREATE TABLE person_aside (
    campaign_id integer NOT NULL REFERENCES campaign (id) ON DELETE CASCADE,
    person text NOT NULL,
    annotator integer,
    at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (campaign_id, person)
);

-- The annotations that count, with the label as its class is called by now.
CREATE VIEW counted_annotation AS
SELECT
    annotation.id, annotation.campaign_id, annotation.action, annotation.task_id, annotation.annotation_id,
    annotation.stamp_set, annotation.stamp_id,
    coalesce(campaign.renamed ->> annotation.label, annotation.label) AS label,
    annotation.annotator, annotation.result, annotation.happened_at
FROM current_annotation AS annotation
JOIN campaign ON campaign.id = annotation.campaign_id
WHERE NOT EXISTS (
    SELECT FROM person_aside AS aside
    WHERE aside.campaign_id = annotation.campaign_id AND aside.annotator = annotation.annotator
);

CREATE OR REPLACE VIEW vote AS
SELECT campaign_id, stamp_set, stamp_id, label, annotator, NULL::text AS person, happened_at, 'annotation' AS given
FROM counted_annotation
WHERE action = 'labelled' AND label IS NOT NULL AND stamp_set IS NOT NULL
UNION ALL
SELECT
    event.campaign_id, event.stamp_set, event.stamp_id,
    coalesce(campaign.renamed ->> event.label, event.label), NULL, NULL, event.happened_at, 'start'
FROM label_event AS event
JOIN campaign ON campaign.id = event.campaign_id
WHERE event.action = 'imported' AND event.label IS NOT NULL AND event.stamp_set IS NOT NULL
UNION ALL
SELECT
    mark.campaign_id, mark.stamp_set, mark.stamp_id, mark.label, mark.annotator, mark.person, mark.happened_at, 'mark'
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

-- Stamps that joined a pool after the campaign began, each time as in `members`: an audit slice is drawn from each.
ALTER TABLE pool ADD COLUMN added bytea[] NOT NULL DEFAULT '{}';
