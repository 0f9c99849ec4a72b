-- Label Studio's own tables (1.23): write predictions of one version into the rows that are there, and serve them.
-- Ids must stay: Label Studio refuses a Submit whose parent prediction is gone, and nobody knows who has a task open,
-- so no row is ever deleted. The project's version changes with the rows, in one statement: at no moment does
-- Label Studio serve a version whose rows are gone, which would draw tasks at random.
-- A row that an annotation names says what its annotator saw: it keeps its answer, and changes its place in the queue
-- only if it is of the served version.
WITH new AS (
    SELECT task, score, result
    FROM jsonb_to_recordset(%(rows)s::jsonb) AS r (task integer, score double precision, result jsonb)
),
old AS (
    SELECT
        p.id, p.task_id,
        p.model_version IS NOT DISTINCT FROM %(version)s AS same,
        EXISTS (SELECT FROM task_completion AS a WHERE a.parent_prediction_id = p.id)
            OR EXISTS (SELECT FROM prediction_meta AS m WHERE m.prediction_id = p.id) AS named
    FROM prediction AS p
    JOIN new ON new.task = p.task_id
    WHERE p.project_id = %(project)s
),
place AS (
    SELECT id, task_id, named FROM old WHERE same
    UNION ALL
    SELECT min(id) FILTER (WHERE NOT named), task_id, false FROM old GROUP BY task_id HAVING NOT bool_or(same)
),
written AS (
    UPDATE prediction AS p
    SET
        model_version = %(version)s,
        score = new.score,
        result = CASE WHEN place.named THEN p.result ELSE new.result END,
        updated_at = now()
    FROM place
    JOIN new ON new.task = place.task_id
    WHERE p.id = place.id
)
UPDATE project SET model_version = %(version)s WHERE id = %(project)s
