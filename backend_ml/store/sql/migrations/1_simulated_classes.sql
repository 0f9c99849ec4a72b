-- What simulated stamps teach a campaign before people label: the concept of each class, and how many stamps.
ALTER TABLE campaign
    ADD COLUMN simulated jsonb NOT NULL DEFAULT '{}',
    ADD COLUMN simulated_stamps integer NOT NULL DEFAULT 0 CHECK (simulated_stamps >= 0);
