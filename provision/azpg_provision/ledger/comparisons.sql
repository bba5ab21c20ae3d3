-- How values of each part of a key are compared: its type, the schema of the operators of the index that the state of
-- azpg.columns AS c has, and the type that values are cast to, so that these operators and no others are for exactly
-- that: where it is another, and where somebody could make others for what a column's type is by then, as is nobody
-- in pg_catalog. OFFSET keeps the parts apart: to try all orders of twelve tables takes PostgreSQL longer than to read
-- them.
SELECT pg_catalog.jsonb_agg(pg_catalog.jsonb_build_array(
           part.name, operators.schema,
           CASE WHEN of.kind OPERATOR(pg_catalog.<>) 'p' AND of.oid OPERATOR(pg_catalog.<>) part.oid THEN of.name
                WHEN operators.schema OPERATOR(pg_catalog.<>) 'pg_catalog' THEN part.name END
       ) ORDER BY key.position)
FROM pg_catalog.pg_class AS state
JOIN pg_catalog.pg_index AS index
  ON index.indrelid OPERATOR(pg_catalog.=) state.oid AND index.indisprimary
CROSS JOIN LATERAL ROWS FROM (pg_catalog.unnest(index.indkey), pg_catalog.unnest(index.indclass))
    WITH ORDINALITY AS key (number, class, position)
CROSS JOIN LATERAL (
    SELECT type.oid, pg_catalog.concat(pg_catalog.quote_ident(home.nspname), '.', pg_catalog.quote_ident(type.typname))
    FROM pg_catalog.pg_attribute AS attribute
    JOIN pg_catalog.pg_type AS type ON type.oid OPERATOR(pg_catalog.=) attribute.atttypid
    JOIN pg_catalog.pg_namespace AS home ON home.oid OPERATOR(pg_catalog.=) type.typnamespace
    WHERE attribute.attrelid OPERATOR(pg_catalog.=) state.oid AND attribute.attnum OPERATOR(pg_catalog.=) key.number
    OFFSET 0
) AS part (oid, name)
CROSS JOIN LATERAL (
    SELECT class.opcfamily, type.oid, type.typtype,
           pg_catalog.concat(pg_catalog.quote_ident(home.nspname), '.', pg_catalog.quote_ident(type.typname))
    FROM pg_catalog.pg_opclass AS class
    JOIN pg_catalog.pg_type AS type ON type.oid OPERATOR(pg_catalog.=) class.opcintype
    JOIN pg_catalog.pg_namespace AS home ON home.oid OPERATOR(pg_catalog.=) type.typnamespace
    WHERE class.oid OPERATOR(pg_catalog.=) key.class
    OFFSET 0
) AS of (family, oid, kind, name)
CROSS JOIN LATERAL (
    SELECT home.nspname
    FROM pg_catalog.pg_amop AS member
    JOIN pg_catalog.pg_operator AS equal ON equal.oid OPERATOR(pg_catalog.=) member.amopopr
    JOIN pg_catalog.pg_namespace AS home ON home.oid OPERATOR(pg_catalog.=) equal.oprnamespace
    WHERE member.amopfamily OPERATOR(pg_catalog.=) of.family
      AND member.amoplefttype OPERATOR(pg_catalog.=) of.oid AND member.amoprighttype OPERATOR(pg_catalog.=) of.oid
      AND member.amopstrategy OPERATOR(pg_catalog.=) 3
    OFFSET 0
) AS operators (schema)
WHERE state.relnamespace OPERATOR(pg_catalog.=) pg_catalog.to_regnamespace('azpg')
  AND state.relname OPERATOR(pg_catalog.=) pg_catalog.concat('state_', c.id)::pg_catalog.name
