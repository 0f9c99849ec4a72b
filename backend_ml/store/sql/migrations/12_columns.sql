-- Catalogue columns that the heads of a campaign read beside the image, in order; none by default.
ALTER TABLE campaign ADD COLUMN columns text[] NOT NULL DEFAULT '{}';
