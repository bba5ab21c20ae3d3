-- Of the wanted privileges those that the roles have; a schema has no table's name.
SELECT wanted.role, wanted.schema, wanted.name, wanted.privilege
FROM ROWS FROM (
         pg_catalog.unnest(%(roles)s::pg_catalog.text[]),
         pg_catalog.unnest(%(schemas)s::pg_catalog.text[]),
         pg_catalog.unnest(%(tables)s::pg_catalog.text[]),
         pg_catalog.unnest(%(privileges)s::pg_catalog.text[]))
     AS wanted (role, schema, name, privilege)
JOIN pg_catalog.pg_roles AS role ON role.rolname OPERATOR(pg_catalog.=) wanted.role
JOIN pg_catalog.pg_namespace AS schema ON schema.nspname OPERATOR(pg_catalog.=) wanted.schema
LEFT JOIN pg_catalog.pg_class AS class ON class.relnamespace OPERATOR(pg_catalog.=) schema.oid
     AND class.relname OPERATOR(pg_catalog.=) wanted.name
WHERE CASE
          WHEN wanted.name IS NULL THEN pg_catalog.has_schema_privilege(role.oid, schema.oid, wanted.privilege)
          ELSE pg_catalog.has_table_privilege(role.oid, class.oid, wanted.privilege)
      END
