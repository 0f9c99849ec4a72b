-- Experiments that workers ran in the pipeline repository: what each learned, what came of it, where it is kept.

-- `baseline` and `revision` are commits there, before and of the experiment; `outcome` is the run's, `note` why it failed
-- or what else there is to know. One of a name and a baseline that was killed begins again as the same row.
CREATE TABLE experiment (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    campaign_id integer NOT NULL REFERENCES campaign (id) ON DELETE CASCADE,
    name text NOT NULL,
    repository text NOT NULL,
    baseline text NOT NULL,
    labels_file text NOT NULL,
    labels integer NOT NULL,
    revision text,
    encoder text,
    metrics jsonb NOT NULL DEFAULT '{}',
    outcome text CHECK (outcome IN ('promoted', 'held back', 'unchanged', 'too few labels', 'failed')),
    version text,
    branch text,
    note text,
    begun_at timestamptz NOT NULL DEFAULT now(),
    ended_at timestamptz,
    UNIQUE (campaign_id, name, baseline)
);
