-- Label Studio's own tables (1.23): how many predictions of a version some tasks have, of those that no annotation names.
SELECT p.task_id, count(*)
FROM prediction AS p
WHERE p.project_id = %(project)s
    AND p.task_id = ANY(%(tasks)s)
    AND p.model_version = %(version)s
    AND NOT EXISTS (SELECT FROM task_completion AS a WHERE a.parent_prediction_id = p.id)
GROUP BY p.task_id
