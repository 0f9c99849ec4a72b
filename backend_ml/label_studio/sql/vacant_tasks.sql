-- Label Studio's own tables (1.23): tasks without a prediction that `write_predictions.sql` would write into.
SELECT wanted.task
FROM unnest(%(tasks)s::integer[]) AS wanted (task)
WHERE NOT EXISTS (
    SELECT FROM prediction AS p
    JOIN project ON project.id = p.project_id
    WHERE p.project_id = %(project)s
        AND p.task_id = wanted.task
        AND (
            p.model_version = %(version)s
            OR p.model_version IS DISTINCT FROM project.model_version
            AND regexp_replace(p.model_version, '-?[^-]*$', '') = regexp_replace(%(version)s, '-?[^-]*$', '')
            AND NOT EXISTS (SELECT FROM task_completion AS a WHERE a.parent_prediction_id = p.id)
            AND NOT EXISTS (SELECT FROM prediction_meta AS m WHERE m.prediction_id = p.id)
        )
)
