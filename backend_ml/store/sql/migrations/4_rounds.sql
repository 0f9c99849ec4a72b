-- The search page: what each round showed and why, and pictures that are looked for but are in no stamp set.

CREATE TABLE round (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    campaign_id integer NOT NULL REFERENCES campaign (id) ON DELETE CASCADE,
    person text NOT NULL,
    annotator integer,
    policy text NOT NULL,
    seed integer NOT NULL,
    candidates integer NOT NULL,
    last_event bigint NOT NULL,
    made_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX round_of_campaign ON round (campaign_id, id);

-- `probability` is NULL before anything is liked, `similarity` is that to the nearest liked stamp.
CREATE TABLE round_pick (
    round_id bigint NOT NULL REFERENCES round (id) ON DELETE CASCADE,
    rank integer NOT NULL,
    stamp_id bigint NOT NULL,
    probability double precision,
    similarity double precision,
    worth double precision NOT NULL,
    propensity double precision NOT NULL,
    PRIMARY KEY (round_id, rank)
);
CREATE INDEX round_pick_of_stamp ON round_pick (stamp_id);

-- float32 features, little-endian, of a picture somebody dropped on the page.
CREATE TABLE search_example (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    campaign_id integer NOT NULL REFERENCES campaign (id) ON DELETE CASCADE,
    name text NOT NULL,
    person text NOT NULL,
    features bytea NOT NULL,
    added_at timestamptz NOT NULL DEFAULT now()
);
