-- Of the schemas and tables that are wanted those that there are; a schema has no table's name.
SELECT wanted.schema, wanted.name
FROM unnest(%(schemas)s::text[], %(tables)s::text[]) AS wanted (schema, name)
JOIN pg_catalog.pg_namespace AS schema ON schema.nspname = wanted.schema
LEFT JOIN pg_catalog.pg_class AS class ON class.relnamespace = schema.oid AND class.relname = wanted.name
WHERE wanted.name IS NULL OR class.oid IS NOT NULL
