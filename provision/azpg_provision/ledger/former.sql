-- The roles that may use schema azpg as owners of vectorized tables may, and own none any more, nor one that is to
-- be vectorized. Not those who administer it, nor those whom somebody has given more there, to read it.
SELECT role.rolname::pg_catalog.text
FROM pg_catalog.pg_namespace AS azpg
CROSS JOIN pg_catalog.aclexplode(azpg.nspacl) AS acl
JOIN pg_catalog.pg_roles AS role ON role.oid OPERATOR(pg_catalog.=) acl.grantee
WHERE azpg.nspname OPERATOR(pg_catalog.=) 'azpg'
  AND acl.privilege_type OPERATOR(pg_catalog.=) 'USAGE'
  AND role.oid OPERATOR(pg_catalog.<>) azpg.nspowner AND NOT {trusted}
  AND NOT EXISTS (
      SELECT FROM pg_catalog.pg_class AS class
      WHERE class.relowner OPERATOR(pg_catalog.=) role.oid
        AND (EXISTS (
                 SELECT FROM azpg.columns AS vectorized
                 JOIN pg_catalog.pg_attribute AS attribute
                   ON attribute.attrelid OPERATOR(pg_catalog.=) vectorized.relation
                  AND attribute.attname OPERATOR(pg_catalog.=) vectorized.attribute
                  AND NOT attribute.attisdropped
                 WHERE vectorized.relation OPERATOR(pg_catalog.=) class.oid)
             OR class.oid OPERATOR(pg_catalog.=) ANY (ARRAY(
                 SELECT pg_catalog.to_regclass(wanted.name)
                 FROM pg_catalog.unnest({wanted}::pg_catalog.text[]) AS wanted (name)))))
  AND NOT EXISTS (
      SELECT FROM pg_catalog.pg_class AS class CROSS JOIN pg_catalog.aclexplode(class.relacl) AS more
      WHERE class.relnamespace OPERATOR(pg_catalog.=) azpg.oid
        AND more.grantee OPERATOR(pg_catalog.=) role.oid AND class.relowner OPERATOR(pg_catalog.<>) role.oid)
  AND NOT EXISTS (
      SELECT FROM pg_catalog.pg_proc AS function CROSS JOIN pg_catalog.aclexplode(function.proacl) AS more
      WHERE function.pronamespace OPERATOR(pg_catalog.=) azpg.oid
        AND more.grantee OPERATOR(pg_catalog.=) role.oid AND function.proowner OPERATOR(pg_catalog.<>) role.oid)
ORDER BY 1
