-- Every extension that there is or could be: its versions, and the one it has, with its schema.
SELECT CAST(available.name AS pg_catalog.text),
       available.default_version,
       ARRAY(SELECT version FROM pg_catalog.pg_available_extension_versions AS versions
             WHERE versions.name OPERATOR(pg_catalog.=) available.name) AS versions,
       extension.extversion,
       CAST(schema.nspname AS pg_catalog.text)
FROM pg_catalog.pg_available_extensions AS available
LEFT JOIN pg_catalog.pg_extension AS extension ON extension.extname OPERATOR(pg_catalog.=) available.name
LEFT JOIN pg_catalog.pg_namespace AS schema ON schema.oid OPERATOR(pg_catalog.=) extension.extnamespace
