-- How values of each part of a key are compared: its type, the schema of the operators of the index that the state of
-- azpg.columns AS c has, and the type that those are for, where it is another.
SELECT pg_catalog.jsonb_agg(pg_catalog.jsonb_build_array(
           pg_catalog.concat(pg_catalog.quote_ident(home.nspname), '.', pg_catalog.quote_ident(type.typname)),
           operators.nspname,
           CASE WHEN of.typtype OPERATOR(pg_catalog.<>) 'p' AND of.oid OPERATOR(pg_catalog.<>) type.oid THEN
               pg_catalog.concat(pg_catalog.quote_ident(of_home.nspname), '.', pg_catalog.quote_ident(of.typname))
           END) ORDER BY key.position)
FROM pg_catalog.pg_class AS state
JOIN pg_catalog.pg_index AS index
  ON index.indrelid OPERATOR(pg_catalog.=) state.oid AND index.indisprimary
CROSS JOIN LATERAL ROWS FROM (pg_catalog.unnest(index.indkey), pg_catalog.unnest(index.indclass))
    WITH ORDINALITY AS key (number, class, position)
JOIN pg_catalog.pg_attribute AS attribute ON attribute.attrelid OPERATOR(pg_catalog.=) state.oid
                                         AND attribute.attnum OPERATOR(pg_catalog.=) key.number
JOIN pg_catalog.pg_type AS type ON type.oid OPERATOR(pg_catalog.=) attribute.atttypid
JOIN pg_catalog.pg_namespace AS home ON home.oid OPERATOR(pg_catalog.=) type.typnamespace
JOIN pg_catalog.pg_opclass AS class ON class.oid OPERATOR(pg_catalog.=) key.class
JOIN pg_catalog.pg_type AS of ON of.oid OPERATOR(pg_catalog.=) class.opcintype
JOIN pg_catalog.pg_namespace AS of_home ON of_home.oid OPERATOR(pg_catalog.=) of.typnamespace
JOIN pg_catalog.pg_amop AS member ON member.amopfamily OPERATOR(pg_catalog.=) class.opcfamily
     AND member.amoplefttype OPERATOR(pg_catalog.=) class.opcintype
     AND member.amoprighttype OPERATOR(pg_catalog.=) class.opcintype
     AND member.amopstrategy OPERATOR(pg_catalog.=) 3
JOIN pg_catalog.pg_operator AS equal ON equal.oid OPERATOR(pg_catalog.=) member.amopopr
JOIN pg_catalog.pg_namespace AS operators ON operators.oid OPERATOR(pg_catalog.=) equal.oprnamespace
WHERE state.relnamespace OPERATOR(pg_catalog.=) pg_catalog.to_regnamespace('azpg')
  AND state.relname OPERATOR(pg_catalog.=) pg_catalog.concat('state_', c.id)::pg_catalog.name
