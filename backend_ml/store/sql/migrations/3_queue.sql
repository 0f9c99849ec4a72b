-- Several annotators a task, the pool a campaign is refilled from, and what keeps Label Studio from serving the ranking.

ALTER TABLE campaign ADD COLUMN overlap integer NOT NULL DEFAULT 1 CHECK (overlap >= 1);
ALTER TABLE campaign ADD COLUMN consensus text NOT NULL DEFAULT 'majority'
    CHECK (consensus IN ('majority', 'dawid-skene'));
ALTER TABLE campaign ADD COLUMN serving_notice text;

ALTER TABLE push ADD COLUMN batch integer;

-- Policies of objects have names of their own now.
UPDATE campaign SET policy = 'box-margin' WHERE head = 'lenses' AND policy = 'margin';

-- `members` has a bit for each stamp of the campaign's set: whether it may become a task.
CREATE TABLE pool (
    campaign_id integer PRIMARY KEY REFERENCES campaign (id) ON DELETE CASCADE,
    members bytea NOT NULL,
    slice integer NOT NULL CHECK (slice >= 1),
    refill_below integer NOT NULL CHECK (refill_below >= 1),
    exhausted boolean NOT NULL DEFAULT false
);

-- A slice of the pool that became tasks: what chose it, and how likely each was to be chosen.
CREATE TABLE refill (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    campaign_id integer NOT NULL REFERENCES campaign (id) ON DELETE CASCADE,
    policy text NOT NULL,
    seed integer NOT NULL,
    tasks integer NOT NULL,
    imported_at timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE refilled_task (
    campaign_id integer NOT NULL,
    task_id integer NOT NULL,
    refill_id bigint NOT NULL REFERENCES refill (id) ON DELETE CASCADE,
    propensity double precision NOT NULL,
    PRIMARY KEY (campaign_id, task_id),
    FOREIGN KEY (campaign_id, task_id) REFERENCES task (campaign_id, task_id) ON DELETE CASCADE
);
