-- Encoders learn too: trainings of a campaign's encoder on its labels, and the change from one encoder to another.

-- A training of a campaign's encoder: the encoder it starts from, on how many labels, and what came out; NULL until then.
CREATE TABLE encoder_training (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    campaign_id integer NOT NULL REFERENCES campaign (id) ON DELETE CASCADE,
    base text NOT NULL,
    labels integer NOT NULL,
    encoder text,
    started_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX encoder_training_of_campaign ON encoder_training (campaign_id);

-- Runs of refits, and those that end with another encoder, go on beside each other.
ALTER TABLE learning_run
    ADD COLUMN job text NOT NULL DEFAULT 'learn' CHECK (job IN ('learn', 'encoder'));

ALTER TABLE promotion
    DROP CONSTRAINT promotion_reason_check,
    ADD CONSTRAINT promotion_reason_check
        CHECK (reason IN ('created', 'refit', 'new encoder', 'promoted by hand', 'rolled back'));
