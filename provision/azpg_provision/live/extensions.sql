-- Every extension that there is or could be: its versions, and the one it has, with its schema.
SELECT available.name::text,
       available.default_version,
       ARRAY(SELECT version FROM pg_catalog.pg_available_extension_versions AS versions
             WHERE versions.name = available.name) AS versions,
       extension.extversion,
       schema.nspname::text
FROM pg_catalog.pg_available_extensions AS available
LEFT JOIN pg_catalog.pg_extension AS extension ON extension.extname = available.name
LEFT JOIN pg_catalog.pg_namespace AS schema ON schema.oid = extension.extnamespace
