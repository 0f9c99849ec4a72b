-- Who is signed in on the pages for people: the cookie holds a random id, of which only the SHA-256 is here. A person's
-- Label Studio token is encrypted with a key that is made of that id, so it cannot be read from the database alone.
CREATE TABLE session (
    id bytea PRIMARY KEY,
    person text NOT NULL,
    annotator integer,
    token bytea,
    begun_at timestamptz NOT NULL DEFAULT now(),
    ends_at timestamptz NOT NULL
);

-- Names taken with the team password: each is held by the device, known by a cookie, that took it first. `name` is the
-- name without regard to case and form of its characters; `device` is the SHA-256 of the cookie's value.
CREATE TABLE held_name (
    name text PRIMARY KEY,
    device bytea NOT NULL,
    taken_at timestamptz NOT NULL DEFAULT now()
);
