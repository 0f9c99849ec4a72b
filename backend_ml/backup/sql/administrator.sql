-- Label Studio's own tables (1.23): give its administrator, or who comes nearest, a password and a token; the e-mail.
WITH administrator AS (
    SELECT id, email FROM htx_user WHERE is_active
    ORDER BY email = %(email)s DESC, is_superuser DESC, id
    LIMIT 1
),
known AS (
    UPDATE htx_user SET password = %(password)s FROM administrator WHERE htx_user.id = administrator.id
),
token AS (
    UPDATE authtoken_token SET key = %(token)s FROM administrator WHERE user_id = administrator.id
)
SELECT email FROM administrator
