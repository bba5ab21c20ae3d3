-- What the server says of itself, to whoever asks.
SELECT current_setting('server_version_num')::integer AS version,
       current_setting('azure.extensions', true) AS allowed,
       current_user::text AS admin,
       ARRAY(SELECT datname::text FROM pg_catalog.pg_database WHERE datallowconn AND NOT datistemplate) AS databases,
       ARRAY(SELECT rolname::text FROM pg_catalog.pg_roles) AS roles
