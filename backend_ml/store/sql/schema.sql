-- The state of every campaign as of version 0. Applied once, in one transaction, by backend_ml/database.py, and never
-- edited: what changes is a numbered file in migrations/, applied to old databases and new ones alike.

-- A stamp set that campaigns show, and the feature shard of its stamps.
CREATE TABLE stamp_set (
    name text PRIMARY KEY,
    path text NOT NULL,
    digest text NOT NULL,
    features text NOT NULL
);

CREATE TABLE campaign (
    id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL UNIQUE,
    project_id integer NOT NULL UNIQUE,
    head text NOT NULL,
    classes text[] NOT NULL,
    stamp_set text NOT NULL REFERENCES stamp_set (name),
    encoder text NOT NULL,
    rendering jsonb NOT NULL,
    policy text NOT NULL,
    audit_fraction double precision NOT NULL CHECK (audit_fraction BETWEEN 0 AND 1),
    seed integer NOT NULL,
    state text NOT NULL DEFAULT 'open' CHECK (state IN ('open', 'closed')),
    notice text,
    reconciled_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now()
);

-- Which stamp a Label Studio task shows. Audit tasks are labelled blind and never trained on.
CREATE TABLE task (
    campaign_id integer NOT NULL REFERENCES campaign (id) ON DELETE CASCADE,
    task_id integer NOT NULL,
    stamp_set text NOT NULL REFERENCES stamp_set (name),
    stamp_id bigint NOT NULL,
    audit boolean NOT NULL,
    deleted boolean NOT NULL DEFAULT false,
    PRIMARY KEY (campaign_id, task_id)
);

-- Every webhook as it came; a worker turns it into label events.
CREATE TABLE inbox (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    project_id integer,
    action text NOT NULL,
    body jsonb NOT NULL,
    received_at timestamptz NOT NULL DEFAULT now(),
    processed_at timestamptz,
    error text
);
CREATE INDEX inbox_waiting ON inbox (id) WHERE processed_at IS NULL;

-- What annotators did, appended and never overwritten. `happened_at` is Label Studio's own time of the change.
CREATE TABLE label_event (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    campaign_id integer NOT NULL REFERENCES campaign (id) ON DELETE CASCADE,
    action text NOT NULL CHECK (action IN ('labelled', 'skipped', 'deleted', 'imported')),
    task_id integer,
    annotation_id integer,
    stamp_set text,
    stamp_id bigint,
    label text,
    annotator integer,
    result jsonb,
    parent_prediction integer,
    lead_time double precision,
    source text NOT NULL CHECK (source IN ('webhook', 'reconcile', 'snapshot')),
    happened_at timestamptz NOT NULL,
    recorded_at timestamptz NOT NULL DEFAULT now()
);
CREATE UNIQUE INDEX label_event_once ON label_event (campaign_id, annotation_id, happened_at, action)
    WHERE annotation_id IS NOT NULL AND action <> 'deleted';
CREATE UNIQUE INDEX label_event_deleted_once ON label_event (campaign_id, annotation_id) WHERE action = 'deleted';

-- The newest state of each annotation that still exists, whatever order its events arrived in.
CREATE VIEW current_annotation AS
SELECT DISTINCT ON (event.campaign_id, event.annotation_id) event.*
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

-- One label a stamp: the majority of its annotators, the latest of them where they tie.
CREATE VIEW current_label AS
SELECT DISTINCT ON (campaign_id, stamp_set, stamp_id) campaign_id, stamp_set, stamp_id, label, votes, latest
FROM (
    SELECT campaign_id, stamp_set, stamp_id, label, count(*) AS votes, max(happened_at) AS latest
    FROM (
        SELECT campaign_id, stamp_set, stamp_id, label, happened_at FROM current_annotation WHERE action = 'labelled'
        UNION ALL
        SELECT campaign_id, stamp_set, stamp_id, label, happened_at FROM label_event WHERE action = 'imported'
    ) AS vote
    WHERE label IS NOT NULL AND stamp_set IS NOT NULL
    GROUP BY campaign_id, stamp_set, stamp_id, label
) AS tally
ORDER BY campaign_id, stamp_set, stamp_id, votes DESC, latest DESC, label;

-- Immutable heads. `weights` is NULL for a cold start, which ranks without a head.
CREATE TABLE model_version (
    campaign_id integer NOT NULL REFERENCES campaign (id) ON DELETE CASCADE,
    version text NOT NULL,
    parent text,
    weights bytea,
    encoder text NOT NULL,
    seed integer NOT NULL,
    last_event bigint NOT NULL,
    labels integer NOT NULL,
    audit_labels integer NOT NULL,
    metrics jsonb NOT NULL,
    revision text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (campaign_id, version)
);

-- Which version served when; the newest row of a campaign is the active one.
CREATE TABLE promotion (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    campaign_id integer NOT NULL,
    version text NOT NULL,
    reason text NOT NULL CHECK (reason IN ('created', 'refit', 'promoted by hand', 'rolled back')),
    promoted_at timestamptz NOT NULL DEFAULT now(),
    FOREIGN KEY (campaign_id, version) REFERENCES model_version (campaign_id, version) ON DELETE CASCADE
);

-- The newest event each finished refit has seen, whether its head was promoted or held back.
CREATE TABLE refit (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    campaign_id integer NOT NULL REFERENCES campaign (id) ON DELETE CASCADE,
    version text,
    outcome text NOT NULL CHECK (outcome IN ('promoted', 'held back', 'unchanged', 'too few classes')),
    last_event bigint NOT NULL,
    seconds double precision NOT NULL,
    finished_at timestamptz NOT NULL DEFAULT now()
);

-- The queue as it was pushed: each pick with what chose it and how likely it was to be chosen.
CREATE TABLE push (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    campaign_id integer NOT NULL REFERENCES campaign (id) ON DELETE CASCADE,
    version text NOT NULL,
    policy text NOT NULL,
    seed integer NOT NULL,
    ranked integer NOT NULL,
    last_event bigint NOT NULL,
    started_at timestamptz NOT NULL DEFAULT now(),
    served_at timestamptz
);
CREATE TABLE pick (
    push_id bigint NOT NULL REFERENCES push (id) ON DELETE CASCADE,
    rank integer NOT NULL,
    task_id integer NOT NULL,
    priority double precision NOT NULL,
    propensity double precision NOT NULL,
    audit boolean NOT NULL,
    PRIMARY KEY (push_id, rank)
);
