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
               ), NOT EXISTS (  -- whether what it takes for two rows are two where azpg compares them
                   SELECT FROM ROWS FROM (
                       pg_catalog.unnest(index.indkey), pg_catalog.unnest(index.indclass),
                       pg_catalog.unnest(index.indcollation)) AS key (number, class, rule)
                   JOIN pg_catalog.pg_attribute AS attribute
                        ON attribute.attrelid OPERATOR(pg_catalog.=) class.oid
                           AND attribute.attnum OPERATOR(pg_catalog.=) key.number
                   LEFT JOIN pg_catalog.pg_collation AS its ON its.oid OPERATOR(pg_catalog.=) key.rule
                   LEFT JOIN pg_catalog.pg_collation AS own
                          ON own.oid OPERATOR(pg_catalog.=) attribute.attcollation
                   CROSS JOIN LATERAL (
                       SELECT (SELECT member.amopopr FROM pg_catalog.pg_amop AS member
                               WHERE member.amopfamily OPERATOR(pg_catalog.=) used.opcfamily
                                     AND member.amoplefttype OPERATOR(pg_catalog.=) used.opcintype
                                     AND member.amoprighttype OPERATOR(pg_catalog.=) used.opcintype
                                     AND member.amopstrategy OPERATOR(pg_catalog.=) 3)
                       FROM pg_catalog.pg_opclass AS used WHERE used.oid OPERATOR(pg_catalog.=) key.class
                   ) AS equal (operator)
                   CROSS JOIN LATERAL (
                       WITH RECURSIVE base (oid, parent) AS (
                           SELECT type.oid, type.typbasetype FROM pg_catalog.pg_type AS type
                           WHERE type.oid OPERATOR(pg_catalog.=) attribute.atttypid
                           UNION ALL
                           SELECT type.oid, type.typbasetype FROM base
                           JOIN pg_catalog.pg_type AS type ON type.oid OPERATOR(pg_catalog.=) base.parent
                       )
                       SELECT type.oid, type.typtype, type.typcategory
                       FROM base JOIN pg_catalog.pg_type AS type ON type.oid OPERATOR(pg_catalog.=) base.oid
                       WHERE base.parent OPERATOR(pg_catalog.=) 0
                   ) AS base
                   CROSS JOIN LATERAL (SELECT (  -- of the class that PostgreSQL takes where none is named
                       SELECT member.amopopr
                       FROM pg_catalog.pg_opclass AS usual
                       JOIN pg_catalog.pg_am AS method ON method.oid OPERATOR(pg_catalog.=) usual.opcmethod
                       JOIN pg_catalog.pg_type AS type ON type.oid OPERATOR(pg_catalog.=) usual.opcintype
                       JOIN pg_catalog.pg_amop AS member
                            ON member.amopfamily OPERATOR(pg_catalog.=) usual.opcfamily
                               AND member.amoplefttype OPERATOR(pg_catalog.=) usual.opcintype
                               AND member.amoprighttype OPERATOR(pg_catalog.=) usual.opcintype
                               AND member.amopstrategy OPERATOR(pg_catalog.=) 3
                       WHERE method.amname OPERATOR(pg_catalog.=) 'btree' AND usual.opcdefault
                             AND (type.oid OPERATOR(pg_catalog.=) base.oid
                                  OR type.typname OPERATOR(pg_catalog.=) CASE
                                         WHEN base.typcategory OPERATOR(pg_catalog.=) 'A' THEN 'anyarray'
                                         WHEN base.typtype OPERATOR(pg_catalog.=) 'e' THEN 'anyenum'
                                         WHEN base.typtype OPERATOR(pg_catalog.=) 'r' THEN 'anyrange'
                                         WHEN base.typtype OPERATOR(pg_catalog.=) 'm' THEN 'anymultirange'
                                         WHEN base.typtype OPERATOR(pg_catalog.=) 'c' THEN 'record' END
                                     AND type.typtype OPERATOR(pg_catalog.=) 'p'
                                  OR EXISTS (SELECT FROM pg_catalog.pg_cast AS relabeled
                                             WHERE relabeled.castsource OPERATOR(pg_catalog.=) base.oid
                                                   AND relabeled.casttarget OPERATOR(pg_catalog.=) type.oid
                                                   AND relabeled.castmethod OPERATOR(pg_catalog.=) 'b'
                                                   AND relabeled.castcontext OPERATOR(pg_catalog.=) 'i'))
                       ORDER BY type.oid OPERATOR(pg_catalog.=) base.oid DESC,
                                type.typcategory OPERATOR(pg_catalog.=) base.typcategory
                                AND type.typispreferred DESC
                       LIMIT 1
                   )) AS usual (operator)
                   WHERE key.class IS NOT NULL  -- no column that is only included
                     AND (its.oid OPERATOR(pg_catalog.<>) own.oid
                          AND NOT (its.collisdeterministic AND own.collisdeterministic)
                          OR NOT coalesce(equal.operator OPERATOR(pg_catalog.=) usual.operator, false))
               ), index.indisexclusion  -- a unique one is WITHOUT OVERLAPS
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
