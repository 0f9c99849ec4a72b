-- Label Studio's own tables (1.23): one live prediction a task, with the content of the newest and the id of the oldest.
-- Ids must stay: Label Studio refuses a Submit whose parent prediction is gone, and nobody knows who has a task open.
WITH candidate AS (
    SELECT
        p.id, p.task_id, p.model_version, p.score, p.result, p.updated_at,
        p.id = max(p.id) FILTER (WHERE p.model_version = %(keep_version)s) OVER (PARTITION BY p.task_id) AS newest,
        EXISTS (SELECT FROM task_completion AS a WHERE a.parent_prediction_id = p.id)
            OR EXISTS (SELECT FROM prediction_meta AS m WHERE m.prediction_id = p.id) AS needed
    FROM prediction AS p
    WHERE p.project_id = %(project)s AND p.task_id = ANY(%(tasks)s)
),
pair AS (
    SELECT new.id AS new_id, min(old.id) AS old_id
    FROM candidate AS new
    JOIN candidate AS old ON old.task_id = new.task_id AND old.newest IS NOT TRUE AND NOT old.needed
    WHERE new.newest AND NOT new.needed
    GROUP BY new.id
),
renewed AS (
    UPDATE prediction AS p
    SET model_version = new.model_version, score = new.score, result = new.result, updated_at = new.updated_at
    FROM pair
    JOIN candidate AS new ON new.id = pair.new_id
    WHERE p.id = pair.old_id
),
deleted AS (
    DELETE FROM prediction AS p
    USING candidate AS c
    WHERE p.id = c.id
        AND NOT c.needed
        AND (
            c.id IN (SELECT new_id FROM pair)
            OR (
                c.newest IS NOT TRUE
                AND c.id NOT IN (SELECT old_id FROM pair)
                AND NOT EXISTS (SELECT FROM tasks_tasklock AS l WHERE l.task_id = c.task_id AND l.expire_at > now())
            )
        )
    RETURNING p.task_id
),
counted AS (
    UPDATE task SET total_predictions = total_predictions - d.rows
    FROM (SELECT task_id, count(*) AS rows FROM deleted GROUP BY task_id) AS d
    WHERE task.id = d.task_id
)
SELECT count(*) FROM deleted;
