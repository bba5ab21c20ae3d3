-- Whose functions, operators or types are in `schema`, a row of pg_namespace, who could not act as the owner's role
-- anyway: they are found by name there, also when nobody may create there any more.
SELECT {who}
FROM pg_catalog.pg_depend AS part
LEFT JOIN pg_catalog.pg_proc AS function
       ON part.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_proc'::pg_catalog.regclass
      AND function.oid OPERATOR(pg_catalog.=) part.objid
LEFT JOIN pg_catalog.pg_operator AS operator
       ON part.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_operator'::pg_catalog.regclass
      AND operator.oid OPERATOR(pg_catalog.=) part.objid
LEFT JOIN pg_catalog.pg_type AS type
       ON part.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_type'::pg_catalog.regclass
      AND type.oid OPERATOR(pg_catalog.=) part.objid
CROSS JOIN LATERAL (SELECT coalesce(function.proowner, operator.oprowner, type.typowner)) AS whose (role)
WHERE part.refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_namespace'::pg_catalog.regclass
  AND part.refobjid OPERATOR(pg_catalog.=) schema.oid
  AND NOT coalesce(pg_catalog.pg_has_role(whose.role, {owner}, 'USAGE'), true)
