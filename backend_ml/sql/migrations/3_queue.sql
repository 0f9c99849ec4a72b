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
    refill_below integer NOT NULL CHECK (refill_below >= 1)
);
