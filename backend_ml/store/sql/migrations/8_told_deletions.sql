-- Deletions that a webhook told of and Label Studio has not confirmed: annotators can read its webhook's secret there.
CREATE TABLE told_deleted (
    campaign_id integer NOT NULL REFERENCES campaign (id) ON DELETE CASCADE,
    what text NOT NULL CHECK (what IN ('annotation', 'task')),
    id integer NOT NULL,
    told_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (campaign_id, what, id)
);
CREATE INDEX told_deleted_when ON told_deleted (told_at);
