-- Label Studio's role and database, made once, with the volume. psql reads the password from the environment itself.
\getenv label_studio LABEL_STUDIO_PASSWORD
CREATE ROLE label_studio LOGIN PASSWORD :'label_studio';
CREATE DATABASE label_studio OWNER label_studio;
REVOKE CONNECT, TEMPORARY ON DATABASE label_studio FROM PUBLIC;
