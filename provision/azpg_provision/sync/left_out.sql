-- Of a message that something does not exist: what goes by its name in a schema that act.sql leaves out of the
-- search_path, that schema, the table's owner, who may create there (NULL for everybody), and who of them not as
-- the schema's owner.
SELECT found.name::pg_catalog.text, schema.nspname::pg_catalog.text, owner.rolname::pg_catalog.text,
       creators.names, creators.granted
FROM pg_catalog.unnest({schemas}::pg_catalog.text[]) WITH ORDINALITY AS wanted (name, position)
JOIN pg_catalog.pg_namespace AS schema
  ON schema.nspname OPERATOR(pg_catalog.=) wanted.name::pg_catalog.name
JOIN pg_catalog.pg_class AS class ON class.oid OPERATOR(pg_catalog.=) pg_catalog.to_regclass({relation})
JOIN pg_catalog.pg_roles AS owner ON owner.oid OPERATOR(pg_catalog.=) class.relowner
CROSS JOIN LATERAL (
    SELECT pg_catalog.array_agg(DISTINCT creator.name), pg_catalog.array_agg(DISTINCT creator.name)
           FILTER (WHERE NOT creator.owns)
    FROM ({creators}) AS creator (name, owns)
) AS creators (names, granted)
CROSS JOIN LATERAL (
    SELECT relation.relname, pg_catalog.format('"%s"', relation.relname)
    FROM pg_catalog.pg_class AS relation WHERE relation.relnamespace OPERATOR(pg_catalog.=) schema.oid
    UNION ALL
    SELECT type.typname, pg_catalog.format('"%s"', type.typname)
    FROM pg_catalog.pg_type AS type WHERE type.typnamespace OPERATOR(pg_catalog.=) schema.oid
    UNION ALL
    SELECT function.proname, pg_catalog.format(' %s(', function.proname)
    FROM pg_catalog.pg_proc AS function WHERE function.pronamespace OPERATOR(pg_catalog.=) schema.oid
    UNION ALL
    SELECT operator.oprname, pg_catalog.format(' %s ', operator.oprname)
    FROM pg_catalog.pg_operator AS operator WHERE operator.oprnamespace OPERATOR(pg_catalog.=) schema.oid
) AS found (name, said)
WHERE creators.names IS NOT NULL
  AND pg_catalog.strpos({message}, found.said) OPERATOR(pg_catalog.>) 0
ORDER BY wanted.position, 1 LIMIT 1
