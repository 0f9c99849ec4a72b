-- One table of learning, whatever is learned: a run is written while it goes on, and finished with what came of it.

DROP TABLE finetuning;
ALTER TABLE refit RENAME TO learning_run;
ALTER TABLE learning_run DROP CONSTRAINT refit_outcome_check;
UPDATE learning_run SET outcome = 'too few labels' WHERE outcome = 'too few classes';
ALTER TABLE learning_run
    ADD CONSTRAINT learning_run_outcome_check
        CHECK (outcome IN ('promoted', 'held back', 'unchanged', 'too few labels')),
    ALTER COLUMN outcome DROP NOT NULL,
    ALTER COLUMN last_event DROP NOT NULL,
    ALTER COLUMN seconds DROP NOT NULL,
    ALTER COLUMN finished_at DROP NOT NULL,
    ALTER COLUMN finished_at DROP DEFAULT,
    ADD COLUMN phase text NOT NULL DEFAULT 'reading',
    ADD COLUMN done integer NOT NULL DEFAULT 0,
    ADD COLUMN total integer NOT NULL DEFAULT 1,
    ADD COLUMN started_at timestamptz NOT NULL DEFAULT now(),
    ADD COLUMN updated_at timestamptz NOT NULL DEFAULT now();
