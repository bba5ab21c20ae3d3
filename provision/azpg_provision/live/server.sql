-- What the server says of itself, to whoever asks.
SELECT CAST(pg_catalog.current_setting('server_version_num') AS integer) AS version,
       pg_catalog.current_setting('azure.extensions', true) AS allowed,
       CAST(current_user AS pg_catalog.text) AS admin,
       ARRAY(SELECT CAST(datname AS pg_catalog.text) FROM pg_catalog.pg_database
             WHERE datallowconn AND NOT datistemplate) AS databases,
       ARRAY(SELECT CAST(rolname AS pg_catalog.text) FROM pg_catalog.pg_roles) AS roles
