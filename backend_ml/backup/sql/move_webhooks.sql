-- Label Studio's own tables (1.23): send events of some projects to another backend, with its secret.
UPDATE webhook SET url = %(url)s, headers = jsonb_build_object(%(header)s::text, %(secret)s::text)
WHERE project_id = ANY(%(projects)s) AND url = %(former)s
