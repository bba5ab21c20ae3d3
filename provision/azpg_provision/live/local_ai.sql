-- Whether azure_local_ai is there, and its schema, whether that is the extension's, and who owns it; and what of it is
-- somebody's whom not to trust: 1 the schema, 2 a function, by its name, 3 that they may create there; with the role,
-- NULL for everybody.
--
-- pg_get_object_address locks the extension until the transaction's end, so that nobody drops it before what is
-- called then.
SELECT extension.oid IS NOT NULL AND (pg_catalog.pg_get_object_address(
           'extension', ARRAY[extension.extname::pg_catalog.text], '{{}}')).objid OPERATOR(pg_catalog.=) extension.oid,
       schema.oid IS NOT NULL,
       extension.extnamespace OPERATOR(pg_catalog.=) schema.oid OR EXISTS (
           SELECT FROM pg_catalog.pg_depend AS member
           WHERE member.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_namespace'::pg_catalog.regclass
             AND member.objid OPERATOR(pg_catalog.=) schema.oid
             AND member.refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_extension'::pg_catalog.regclass
             AND member.refobjid OPERATOR(pg_catalog.=) extension.oid
             AND member.deptype OPERATOR(pg_catalog.=) 'e'),
       pg_catalog.pg_get_userbyid(schema.nspowner)::pg_catalog.text,
       strange.kind, strange.name, strange.role
FROM (VALUES ({name}::pg_catalog.name)) AS wanted (name)
LEFT JOIN pg_catalog.pg_extension AS extension ON extension.extname OPERATOR(pg_catalog.=) wanted.name
LEFT JOIN pg_catalog.pg_namespace AS schema ON schema.nspname OPERATOR(pg_catalog.=) wanted.name
LEFT JOIN LATERAL (
    SELECT part.kind, part.name, role.rolname::pg_catalog.text
    FROM (
        SELECT 1, NULL, schema.nspowner
        UNION ALL
        SELECT 2, function.oid::pg_catalog.regprocedure::pg_catalog.text, function.proowner
        FROM pg_catalog.pg_proc AS function
        WHERE function.pronamespace OPERATOR(pg_catalog.=) schema.oid
          AND function.proname OPERATOR(pg_catalog.=) ANY ({functions}::pg_catalog.name[])
        UNION ALL
        SELECT 3, NULL, acl.grantee FROM pg_catalog.aclexplode(schema.nspacl) AS acl
        WHERE acl.privilege_type OPERATOR(pg_catalog.=) 'CREATE'
    ) AS part (kind, name, role)
    LEFT JOIN pg_catalog.pg_roles AS role ON role.oid OPERATOR(pg_catalog.=) part.role
    WHERE NOT coalesce({trusted}, false)
    ORDER BY part.kind, part.name LIMIT 1
) AS strange (kind, name, role) ON true
