-- The state of every campaign, as of schema version 0. Frozen: store/database.py applies it once, in one transaction,
-- to an empty database, and nobody edits it. What changes from here on is a file in migrations/ whose name begins with
-- the next number (1_..., 2_...), applied to databases that are there and to new ones alike.

-- How many files of migrations/ the database has seen.
CREATE TABLE schema_version (number integer NOT NULL);
INSERT INTO schema_version VALUES (0);

-- A stamp set that campaigns show, and the feature shard of its stamps.
CREATE TABLE stamp_set (
    name text PRIMARY KEY,
    path text NOT NULL,
    digest text NOT NULL,
    features text NOT NULL
);

-- A labelling campaign. One that begins on the search page has no Label Studio project until it is sent there.
CREATE TABLE campaign (
    id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL UNIQUE,
    project_id integer UNIQUE,
    kind text NOT NULL,
    classes text[] NOT NULL,
    stamp_set text NOT NULL REFERENCES stamp_set (name),
    encoder text NOT NULL,
    rendering jsonb NOT NULL,
    policy text NOT NULL,
    audit_fraction double precision NOT NULL CHECK (audit_fraction BETWEEN 0 AND 1),
    seed integer NOT NULL,
    overlap integer NOT NULL CHECK (overlap >= 1),
    consensus text NOT NULL CHECK (consensus IN ('majority', 'dawid-skene')),
    state text NOT NULL DEFAULT 'open' CHECK (state IN ('open', 'closed')),
    reconciled_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now()
);

-- What the team should know; each source sets and clears its own.
CREATE TABLE notice (
    campaign_id integer NOT NULL REFERENCES campaign (id) ON DELETE CASCADE,
    source text NOT NULL,
    text text NOT NULL,
    at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (campaign_id, source)
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

-- The stamps of a large campaign that may become tasks: `members` has a bit for each stamp of its set.
CREATE TABLE pool (
    campaign_id integer PRIMARY KEY REFERENCES campaign (id) ON DELETE CASCADE,
    members bytea NOT NULL,
    slice integer NOT NULL CHECK (slice >= 1),
    refill_below integer NOT NULL CHECK (refill_below >= 1),
    exhausted boolean NOT NULL DEFAULT false
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
CREATE INDEX inbox_failed ON inbox (project_id) WHERE error IS NOT NULL;

-- An annotation, as Label Studio has it now, that cannot be a label event; gone when it is corrected or deleted there.
CREATE TABLE set_aside (
    campaign_id integer NOT NULL REFERENCES campaign (id) ON DELETE CASCADE,
    annotation_id bigint NOT NULL,
    task_id bigint NOT NULL,
    reason text NOT NULL,
    at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (campaign_id, annotation_id)
);

-- What annotators did, appended and never overwritten. `happened_at` is Label Studio's own time of the change. The
-- stamp of an annotation is its task's; others have one here. `person` is who answered on the search page, as it showed
-- them; `annotator` is set too where Label Studio knows them.
CREATE TABLE label_event (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    campaign_id integer NOT NULL REFERENCES campaign (id) ON DELETE CASCADE,
    action text NOT NULL CHECK (action IN ('labelled', 'skipped', 'deleted', 'imported', 'withdrawn')),
    task_id integer,
    annotation_id integer,
    stamp_set text,
    stamp_id bigint,
    label text,
    annotator integer,
    person text,
    result jsonb,
    parent_prediction integer,
    lead_time double precision,
    source text NOT NULL CHECK (source IN ('webhook', 'reconcile', 'snapshot', 'explore')),
    happened_at timestamptz NOT NULL,
    recorded_at timestamptz NOT NULL DEFAULT now()
);
CREATE UNIQUE INDEX label_event_once ON label_event (campaign_id, annotation_id, happened_at, action)
    WHERE annotation_id IS NOT NULL AND action <> 'deleted';
CREATE UNIQUE INDEX label_event_deleted_once ON label_event (campaign_id, annotation_id) WHERE action = 'deleted';
CREATE INDEX label_event_of_stamp ON label_event (campaign_id, stamp_set, stamp_id);

-- The newest state of each annotation that still exists, whatever order its events arrived in. The stamp is the task's:
-- an annotation may come before its task is remembered.
CREATE VIEW current_annotation AS
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

-- What each person last said of a stamp on the search page; 'withdrawn' where they took it back.
CREATE VIEW current_mark AS
SELECT DISTINCT ON (campaign_id, stamp_set, stamp_id, person)
    id, campaign_id, action, stamp_set, stamp_id, label, annotator, person, happened_at
FROM label_event
WHERE source = 'explore' AND annotation_id IS NULL
ORDER BY campaign_id, stamp_set, stamp_id, person, id DESC;

-- One row an answer that counts; who annotates in Label Studio what they had marked on the search page counts once. The
-- label of a stamp is what its campaign's consensus makes of these (labels/agreed.py), and nothing else.
CREATE VIEW vote AS
SELECT campaign_id, stamp_set, stamp_id, label, annotator, NULL::text AS person, happened_at, 'annotation' AS given
FROM current_annotation
WHERE action = 'labelled' AND label IS NOT NULL AND stamp_set IS NOT NULL
UNION ALL
SELECT campaign_id, stamp_set, stamp_id, label, NULL, NULL, happened_at, 'start'
FROM label_event
WHERE action = 'imported' AND label IS NOT NULL AND stamp_set IS NOT NULL
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
    );

-- Immutable models: the weights of a head, or the digest of a detector in the store. A cold start has neither, and
-- ranks without a model.
CREATE TABLE model_version (
    campaign_id integer NOT NULL REFERENCES campaign (id) ON DELETE CASCADE,
    version text NOT NULL,
    parent text,
    weights bytea,
    detector text,
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

-- One run of learning: written while it goes on, and finished with what came of it, promoted or not.
CREATE TABLE learning_run (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    campaign_id integer NOT NULL REFERENCES campaign (id) ON DELETE CASCADE,
    phase text NOT NULL DEFAULT 'reading',
    done integer NOT NULL DEFAULT 0,
    total integer NOT NULL DEFAULT 1,
    started_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    version text,
    outcome text CHECK (outcome IN ('promoted', 'held back', 'unchanged', 'too few labels')),
    last_event bigint,
    seconds double precision,
    finished_at timestamptz
);

-- What was chosen to be shown next, and by what: a push of the queue, a slice of a pool, a round of a search.
-- `candidates` is from how many, `batch` how many before the next judgement. A round has who looked at it, the others
-- the version that ranked, if one did. `served_at` is NULL until it is shown.
CREATE TABLE selection (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    campaign_id integer NOT NULL REFERENCES campaign (id) ON DELETE CASCADE,
    source text NOT NULL CHECK (source IN ('push', 'slice', 'round')),
    policy text NOT NULL,
    seed integer NOT NULL,
    batch integer NOT NULL,
    candidates integer NOT NULL,
    last_event bigint NOT NULL,
    version text,
    person text,
    annotator integer,
    made_at timestamptz NOT NULL DEFAULT now(),
    served_at timestamptz
);
CREATE INDEX selection_of_campaign ON selection (campaign_id, source, id);

-- The stamps of a selection, rank 0 first, each with how likely it was to be chosen. `priority` is the score that a
-- push gave its task, `worth` what its label is worth to the policy, `probability` that it is wanted, `similarity` its
-- own to the nearest liked stamp; each is NULL where it was not asked for.
CREATE TABLE selected (
    selection_id bigint NOT NULL REFERENCES selection (id) ON DELETE CASCADE,
    rank integer NOT NULL,
    stamp_set text NOT NULL,
    stamp_id bigint NOT NULL,
    task_id integer,
    priority double precision,
    worth double precision,
    propensity double precision NOT NULL,
    probability double precision,
    similarity double precision,
    audit boolean NOT NULL,
    PRIMARY KEY (selection_id, rank)
);
CREATE INDEX selected_of_stamp ON selected (stamp_id);

-- The name under which each annotator last looked at a round of the search page.
CREATE VIEW annotator_name AS
SELECT DISTINCT ON (annotator) annotator, person
FROM selection
WHERE source = 'round' AND annotator IS NOT NULL
ORDER BY annotator, id DESC;

-- A picture somebody dropped on the search page, of what they look for: its float32 features, little-endian.
CREATE TABLE search_example (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    campaign_id integer NOT NULL REFERENCES campaign (id) ON DELETE CASCADE,
    name text NOT NULL,
    person text NOT NULL,
    features bytea NOT NULL,
    added_at timestamptz NOT NULL DEFAULT now()
);
