-- A campaign may be made with a label config of its leader's own: `label_config` has what is answered of that one too, and
-- `adopted` whether the project was there before.
ALTER TABLE campaign ADD COLUMN adopted boolean NOT NULL DEFAULT false;
UPDATE campaign SET adopted = true WHERE label_config <> '';
