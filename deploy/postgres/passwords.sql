-- Gives the roles of roles.sql the passwords of the environment. psql reads them itself, so that no command line has them.
\getenv backend BACKEND_PASSWORD
\getenv worker WORKER_PASSWORD
ALTER ROLE galaxyloop_backend PASSWORD :'backend';
ALTER ROLE galaxyloop_worker PASSWORD :'worker';
