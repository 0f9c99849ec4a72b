-- Label Studio's own tables (1.23): write predictions of one version into rows that are there, and serve that version.
-- Ids must stay: Label Studio refuses a Submit whose parent prediction is gone, and nobody knows who has a task open,
-- so no row is ever deleted. Written into are the task's rows of that version, else the oldest of ours, whose versions
-- begin with the same kind, that is not served: predictions of others stay. A
-- request that read the project before this statement still finds the order it looks for, where without those rows
-- Label Studio would draw a task at random.
-- A row that an annotation names says what its annotator saw: it keeps its answer, and changes its place in the queue
-- only if it is of the version that is to be served.
-- Who opens a task while it gets its first prediction has it answered live as well. Of two such rows one is left to the
-- version, and the other waits, under a name that is not served, to be written into.
WITH new AS (
    SELECT task, score, result
    FROM jsonb_to_recordset(%(rows)s::jsonb) AS r (task integer, score double precision, result jsonb)
),
old AS (
    SELECT
        p.id, p.task_id,
        p.model_version IS NOT DISTINCT FROM %(version)s AS same,
        p.model_version IS NOT DISTINCT FROM project.model_version AS served,
        regexp_replace(p.model_version, '-?[^-]*$', '') IS NOT DISTINCT FROM regexp_replace(%(version)s, '-?[^-]*$', '')
            AS ours,
        EXISTS (SELECT FROM task_completion AS a WHERE a.parent_prediction_id = p.id)
            OR EXISTS (SELECT FROM prediction_meta AS m WHERE m.prediction_id = p.id) AS named
    FROM prediction AS p
    JOIN new ON new.task = p.task_id
    JOIN project ON project.id = p.project_id
    WHERE p.project_id = %(project)s
),
ranked AS (
    SELECT id, named, row_number() OVER (PARTITION BY task_id ORDER BY named DESC, id) AS place FROM old WHERE same
),
place AS (
    SELECT id, named FROM ranked WHERE named OR place = 1
    UNION ALL
    SELECT min(id) FILTER (WHERE ours AND NOT named AND NOT served), false FROM old GROUP BY task_id HAVING NOT bool_or(same)
),
spare AS (
    UPDATE prediction AS p SET model_version = %(spare)s, updated_at = now()
    FROM ranked WHERE p.id = ranked.id AND NOT ranked.named AND ranked.place > 1
),
written AS (
    UPDATE prediction AS p
    SET
        model_version = %(version)s,
        score = new.score,
        result = CASE WHEN place.named THEN p.result ELSE new.result END,
        updated_at = now()
    FROM place, new
    WHERE p.id = place.id AND new.task = p.task_id
)
UPDATE project SET model_version = %(version)s WHERE id = %(project)s
