-- Signed links that can be rotated: those of the newest series hold. `relinks` counts why Label Studio shows others.
ALTER TABLE campaign
    ADD COLUMN link_series integer NOT NULL DEFAULT 0,
    ADD COLUMN relinks integer NOT NULL DEFAULT 0;
