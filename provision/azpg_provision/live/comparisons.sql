-- Of unique indexes by their numbers, those for which what they take for two rows are two where azpg compares them.
-- Run as tables.sql is.
SELECT CAST(index.indexrelid AS bigint)
FROM pg_catalog.pg_index AS index
WHERE index.indexrelid OPERATOR(pg_catalog.=) ANY (CAST(CAST(%(indexes)s AS bigint[]) AS pg_catalog.oid[]))
  AND NOT EXISTS (
      SELECT FROM ROWS FROM (
          pg_catalog.unnest(index.indkey), pg_catalog.unnest(index.indclass),
          pg_catalog.unnest(index.indcollation)) AS key (number, class, rule)
      JOIN pg_catalog.pg_attribute AS attribute
           ON attribute.attrelid OPERATOR(pg_catalog.=) index.indrelid
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
  )
