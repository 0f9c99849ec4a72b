-- A role for each service, with no more than it needs. Apply it as the owner of the campaign database, who is the
-- command line's role, after the first command has made the tables, and again after each update:
--
--   psql "$GALAXYLOOP_DATABASE_URL" -f roles.sql
--   psql "$GALAXYLOOP_DATABASE_URL" -c '\password galaxyloop_backend' -c '\password galaxyloop_worker'
--
-- Neither role makes, changes or drops a table. The backend, which strangers reach, appends what people did and takes
-- none of it back. The worker knows nothing of who is signed in.

DO $$
DECLARE
    service text;
BEGIN
    FOREACH service IN ARRAY ARRAY['galaxyloop_backend', 'galaxyloop_worker'] LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = service) THEN
            EXECUTE format('CREATE ROLE %I LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOBYPASSRLS', service);
        END IF;
        EXECUTE format('GRANT CONNECT ON DATABASE %I TO %I', current_database(), service);
    END LOOP;
    EXECUTE format('REVOKE CONNECT, CREATE, TEMPORARY ON DATABASE %I FROM PUBLIC', current_database());
END
$$;

REVOKE CREATE ON SCHEMA public FROM PUBLIC;
GRANT USAGE ON SCHEMA public TO galaxyloop_backend, galaxyloop_worker;
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO galaxyloop_backend, galaxyloop_worker;
GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA public TO galaxyloop_backend, galaxyloop_worker;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA public TO galaxyloop_backend, galaxyloop_worker;

REVOKE INSERT, UPDATE, DELETE ON schema_version FROM galaxyloop_backend, galaxyloop_worker;
REVOKE ALL ON session, held_name FROM galaxyloop_worker;
REVOKE UPDATE, DELETE ON label_event, refuted_event, inbox, promotion, learned_from, change FROM galaxyloop_backend;
-- where a label was given first; and what a comparison with Label Studio settles, when a leader closes a campaign
GRANT UPDATE (source) ON label_event TO galaxyloop_backend;
GRANT UPDATE (error) ON inbox TO galaxyloop_backend;
