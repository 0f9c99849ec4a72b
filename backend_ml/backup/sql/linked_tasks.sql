-- Label Studio's own tables (1.23): tasks of some projects whose data name an address.
SELECT id, project_id, data FROM task
WHERE project_id = ANY(%(projects)s) AND position(%(address)s IN data::text) > 0
