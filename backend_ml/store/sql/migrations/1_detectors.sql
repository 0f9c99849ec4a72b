-- Versions that are detectors, and how far a fine-tuning has come.

ALTER TABLE model_version ADD COLUMN detector text;

ALTER TABLE refit DROP CONSTRAINT refit_outcome_check;
ALTER TABLE refit ADD CONSTRAINT refit_outcome_check
    CHECK (outcome IN ('promoted', 'held back', 'unchanged', 'too few classes', 'too few labels'));

CREATE TABLE finetuning (
    campaign_id integer PRIMARY KEY REFERENCES campaign (id) ON DELETE CASCADE,
    phase text NOT NULL,
    done integer NOT NULL,
    total integer NOT NULL,
    started_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);
