-- What the worker may do in Label Studio's own database: docs/reference/settings.md. Label Studio has made its tables by now.
\connect label_studio
GRANT CONNECT ON DATABASE label_studio TO galaxyloop_worker;
GRANT SELECT ON prediction, project, task_completion, prediction_meta, projects_projectmember TO galaxyloop_worker;
GRANT UPDATE ON prediction, project TO galaxyloop_worker;
