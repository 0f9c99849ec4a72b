-- Label Studio's own tables (1.23): connect some projects to another backend, with its password.
UPDATE ml_mlbackend SET url = %(url)s, basic_auth_user = %(user)s, basic_auth_pass = %(password)s
WHERE project_id = ANY(%(projects)s) AND rtrim(url, '/') = %(former)s
