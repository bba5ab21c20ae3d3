-- Of the wanted privileges those that the roles have; a schema has no table's name.
SELECT wanted.role, wanted.schema, wanted.name, wanted.privilege
FROM unnest(%(roles)s::text[], %(schemas)s::text[], %(tables)s::text[], %(privileges)s::text[])
     AS wanted (role, schema, name, privilege)
JOIN pg_catalog.pg_roles AS role ON role.rolname = wanted.role
JOIN pg_catalog.pg_namespace AS schema ON schema.nspname = wanted.schema
LEFT JOIN pg_catalog.pg_class AS class ON class.relnamespace = schema.oid AND class.relname = wanted.name
WHERE CASE
          WHEN wanted.name IS NULL THEN pg_catalog.has_schema_privilege(role.oid, schema.oid, wanted.privilege)
          ELSE pg_catalog.has_table_privilege(role.oid, class.oid, wanted.privilege)
      END
