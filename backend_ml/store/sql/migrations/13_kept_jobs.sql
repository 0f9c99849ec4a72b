-- Jobs that somebody asked for and a worker took while their campaign was paused: whoever resumes it asks for them again.
CREATE TABLE kept_job (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    campaign_id integer NOT NULL REFERENCES campaign (id) ON DELETE CASCADE,
    queue text NOT NULL,
    task text NOT NULL,
    priority integer NOT NULL,
    lock text,
    queueing_lock text,
    args jsonb NOT NULL
);
