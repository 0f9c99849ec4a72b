-- Label Studio's own tables (1.23): with two members or more it draws tasks at random, and no route of its API names them.
SELECT count(*) FROM projects_projectmember WHERE project_id = %(project)s
