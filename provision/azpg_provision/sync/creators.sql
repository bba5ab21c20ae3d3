-- Who may create in `schema`, a row of pg_namespace, and could not act as the owner's role anyway.
SELECT {who}
FROM pg_catalog.aclexplode(pg_catalog.array_append(
    coalesce(schema.nspacl, pg_catalog.acldefault('n', schema.nspowner)),
    pg_catalog.makeaclitem(schema.nspowner, schema.nspowner, 'CREATE', false))) AS acl
LEFT JOIN pg_catalog.pg_roles AS given ON given.oid OPERATOR(pg_catalog.=) acl.grantee
JOIN pg_catalog.pg_database AS database
  ON database.datname OPERATOR(pg_catalog.=) pg_catalog.current_database()
WHERE acl.privilege_type OPERATOR(pg_catalog.=) 'CREATE'
  AND NOT coalesce(pg_catalog.pg_has_role(
      CASE WHEN given.rolname OPERATOR(pg_catalog.=) 'pg_database_owner' THEN database.datdba
           ELSE given.oid END, {owner}, 'USAGE'), false)
