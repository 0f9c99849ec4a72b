-- The label of a stamp is what its campaign's consensus makes of the view `vote` (agreed_labels.py), and nothing else.

DROP VIEW IF EXISTS current_label;
