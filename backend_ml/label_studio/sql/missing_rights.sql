-- Label Studio's own tables (1.23): those that this role may not read, or not write, although the other queries here do.
SELECT tables.name, current_user
FROM unnest(ARRAY['prediction', 'project', 'task_completion', 'prediction_meta', 'projects_projectmember']) AS tables (name)
WHERE to_regclass(tables.name) IS NULL
    OR NOT has_table_privilege(tables.name, 'SELECT')
    OR (tables.name IN ('prediction', 'project') AND NOT has_table_privilege(tables.name, 'UPDATE'))
ORDER BY tables.name
