-- Side in pixels of a campaign's pictures: brush masks fit one size alone, and campaigns of before had 480.
ALTER TABLE campaign
    ADD COLUMN picture_size integer NOT NULL DEFAULT 480 CHECK (picture_size > 0);
