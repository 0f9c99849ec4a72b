-- A training of an encoder that failed says so: the next one waits for more labels, but not for as many as after a success.
ALTER TABLE learning_run
    DROP CONSTRAINT learning_run_outcome_check,
    ADD CONSTRAINT learning_run_outcome_check
        CHECK (outcome IN ('promoted', 'held back', 'unchanged', 'too few labels', 'failed'));
