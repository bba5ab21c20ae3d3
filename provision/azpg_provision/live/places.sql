-- Of the schemas and tables that are wanted those that there are; a schema has no table's name.
SELECT wanted.schema, wanted.name
FROM ROWS FROM (
         pg_catalog.unnest(%(schemas)s::pg_catalog.text[]),
         pg_catalog.unnest(%(tables)s::pg_catalog.text[])) AS wanted (schema, name)
JOIN pg_catalog.pg_namespace AS schema ON schema.nspname OPERATOR(pg_catalog.=) wanted.schema
LEFT JOIN pg_catalog.pg_class AS class ON class.relnamespace OPERATOR(pg_catalog.=) schema.oid
     AND class.relname OPERATOR(pg_catalog.=) wanted.name
WHERE wanted.name IS NULL OR class.oid IS NOT NULL
