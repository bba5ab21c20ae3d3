-- The wanted tables that there are, with their columns and the keys that could tell one row from another.
-- Run with public on the search_path, for that is how types and expressions are printed in ledgers; so no name
-- and no operator here is looked up (tests/unit/test_provision_sql.py).
SELECT CAST(schema.nspname AS pg_catalog.text),
       CAST(class.relname AS pg_catalog.text),
       CAST(class.relkind AS pg_catalog.text),
       class.relispartition,
       CAST(class.relpersistence AS pg_catalog.text),
       CAST(greatest(class.reltuples, 0) AS bigint) AS rows,
       pg_catalog.pg_table_size(class.oid) AS bytes,
       pg_catalog.pg_has_role(class.relowner, 'USAGE') AS owner,
       EXISTS (SELECT FROM pg_catalog.pg_inherits AS heir
               WHERE heir.inhparent OPERATOR(pg_catalog.=) class.oid) AS inherited,
       EXISTS (SELECT FROM pg_catalog.pg_inherits AS heir
               WHERE heir.inhrelid OPERATOR(pg_catalog.=) class.oid) AS inherits,
       pg_catalog.row_security_active(class.oid) AS hides,
       -- Row triggers BEFORE INSERT or UPDATE that are fired with azpg's own (azpg_provision.sync.triggers) or after them,
       -- by name, and what of schema azpg they call. Whose they are, a name does not say: the ledger does.
       (SELECT coalesce(pg_catalog.jsonb_agg(pg_catalog.jsonb_build_array(
                            trigger.tgname,
                            CASE WHEN EXISTS (SELECT FROM pg_catalog.pg_namespace AS own
                                              WHERE own.nspname OPERATOR(pg_catalog.=) 'azpg'
                                                    AND own.oid OPERATOR(pg_catalog.=) function.pronamespace)
                                 THEN function.proname END)
                        ORDER BY trigger.tgname), CAST('[]' AS pg_catalog.jsonb))
        FROM pg_catalog.pg_trigger AS trigger
        JOIN pg_catalog.pg_proc AS function ON function.oid OPERATOR(pg_catalog.=) trigger.tgfoid
        WHERE trigger.tgrelid OPERATOR(pg_catalog.=) class.oid AND NOT trigger.tgisinternal
              AND trigger.tgenabled OPERATOR(pg_catalog.=) ANY (CAST('{O,A}' AS pg_catalog."char"[]))
              AND (trigger.tgtype OPERATOR(pg_catalog.&) 3) OPERATOR(pg_catalog.=) 3
              AND (trigger.tgtype OPERATOR(pg_catalog.&) 20) OPERATOR(pg_catalog.<>) 0
              AND trigger.tgname OPERATOR(pg_catalog.>) 'zzz_azpg_') AS later,
       (SELECT coalesce(pg_catalog.jsonb_agg(pg_catalog.jsonb_build_array(
                   attribute.attname, pg_catalog.format_type(attribute.atttypid, attribute.atttypmod),
                   attribute.attnotnull, attribute.attgenerated OPERATOR(pg_catalog.<>) '',
                   CASE WHEN attribute.attgenerated OPERATOR(pg_catalog.<>) ''
                        THEN pg_catalog.pg_get_expr(def.adbin, def.adrelid) END
               ) ORDER BY attribute.attnum), CAST('[]' AS pg_catalog.jsonb))
        FROM pg_catalog.pg_attribute AS attribute
        LEFT JOIN pg_catalog.pg_attrdef AS def ON def.adrelid OPERATOR(pg_catalog.=) class.oid
             AND def.adnum OPERATOR(pg_catalog.=) attribute.attnum
        WHERE attribute.attrelid OPERATOR(pg_catalog.=) class.oid AND attribute.attnum OPERATOR(pg_catalog.>) 0
              AND NOT attribute.attisdropped) AS columns,
       (SELECT coalesce(pg_catalog.jsonb_agg(pg_catalog.jsonb_build_array(index.indisprimary, (
                   SELECT pg_catalog.jsonb_agg(attribute.attname ORDER BY key.position)
                   FROM pg_catalog.unnest(index.indkey[0:index.indnkeyatts OPERATOR(pg_catalog.-) 1])
                        WITH ORDINALITY AS key (number, position)
                   JOIN pg_catalog.pg_attribute AS attribute
                        ON attribute.attrelid OPERATOR(pg_catalog.=) class.oid
                           AND attribute.attnum OPERATOR(pg_catalog.=) key.number
               ), CASE WHEN EXISTS (  -- where it is by more than each type's own class: its number, for comparisons.sql
                   SELECT FROM ROWS FROM (
                       pg_catalog.unnest(index.indkey), pg_catalog.unnest(index.indclass),
                       pg_catalog.unnest(index.indcollation)) AS key (number, class, rule)
                   JOIN pg_catalog.pg_attribute AS attribute
                        ON attribute.attrelid OPERATOR(pg_catalog.=) class.oid
                           AND attribute.attnum OPERATOR(pg_catalog.=) key.number
                   JOIN pg_catalog.pg_opclass AS used ON used.oid OPERATOR(pg_catalog.=) key.class
                   WHERE NOT (used.opcdefault AND used.opcintype OPERATOR(pg_catalog.=) attribute.atttypid
                              AND used.opcmethod OPERATOR(pg_catalog.=) CAST(403 AS pg_catalog.oid)  -- btree
                              AND used.oid OPERATOR(pg_catalog.<) CAST(16384 AS pg_catalog.oid)  -- PostgreSQL's own
                              AND attribute.attcollation OPERATOR(pg_catalog.=) key.rule)
               ) THEN CAST(index.indexrelid AS bigint) END, index.indisexclusion  -- a unique one is WITHOUT OVERLAPS
               ) ORDER BY index.indisprimary DESC, index.indexrelid), CAST('[]' AS pg_catalog.jsonb))
        FROM pg_catalog.pg_index AS index
        WHERE index.indrelid OPERATOR(pg_catalog.=) class.oid AND index.indisunique AND index.indisvalid
              AND index.indimmediate AND index.indpred IS NULL AND index.indexprs IS NULL
              AND NOT EXISTS (SELECT FROM pg_catalog.pg_attribute AS attribute
                              WHERE attribute.attrelid OPERATOR(pg_catalog.=) class.oid
                                    AND attribute.attnum OPERATOR(pg_catalog.=) ANY (
                                        index.indkey[0:index.indnkeyatts OPERATOR(pg_catalog.-) 1])
                                    AND NOT attribute.attnotnull)) AS keys
FROM ROWS FROM (
         pg_catalog.unnest(%(schemas)s::pg_catalog.text[]),
         pg_catalog.unnest(%(tables)s::pg_catalog.text[])) AS wanted (schema, name)
JOIN pg_catalog.pg_namespace AS schema ON schema.nspname OPERATOR(pg_catalog.=) wanted.schema
JOIN pg_catalog.pg_class AS class ON class.relnamespace OPERATOR(pg_catalog.=) schema.oid
     AND class.relname OPERATOR(pg_catalog.=) wanted.name
WHERE class.relkind OPERATOR(pg_catalog.=) ANY (CAST('{r,p,v,m,f}' AS pg_catalog."char"[]))
