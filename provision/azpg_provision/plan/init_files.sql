-- Who may put functions, operators and types that run code where names are looked up that `session_user` runs, or has put some there, and
-- could not act as that role anyway: the schema, who (NULL: everybody), whether as its owner, and how many are there,
-- of which one is named; 0 in the rows of those who may create.
SELECT schema.nspname::pg_catalog.text, role.rolname::pg_catalog.text, pg_catalog.bool_or(found.owns),
       pg_catalog.count(found.name), pg_catalog.min(found.name), current_user::pg_catalog.text
FROM pg_catalog.unnest({schemas}::pg_catalog.text[]) WITH ORDINALITY AS wanted (name, position)
JOIN pg_catalog.pg_namespace AS schema
  ON schema.nspname OPERATOR(pg_catalog.=) CASE WHEN wanted.name OPERATOR(pg_catalog.=) '$user'
                                                THEN current_user ELSE wanted.name::pg_catalog.name END
CROSS JOIN LATERAL (
    SELECT NULL::pg_catalog.text, creator.role, creator.owns FROM ({creators}) AS creator (role, owns)
    UNION ALL
    SELECT pg_catalog.format('%s', function.oid::pg_catalog.regprocedure), function.proowner, false
    FROM pg_catalog.pg_proc AS function
    WHERE function.pronamespace OPERATOR(pg_catalog.=) schema.oid
    UNION ALL
    SELECT pg_catalog.format('operator %s', operator.oid::pg_catalog.regoperator), operator.oprowner, false
    FROM pg_catalog.pg_operator AS operator
    WHERE operator.oprnamespace OPERATOR(pg_catalog.=) schema.oid
    UNION ALL
    -- A domain has conditions, and other types casts: what the file makes only if there is none would be theirs.
    SELECT pg_catalog.format('the type %s', type.oid::pg_catalog.regtype), type.typowner, false
    FROM pg_catalog.pg_type AS type
    WHERE type.typnamespace OPERATOR(pg_catalog.=) schema.oid
      AND (type.typtype OPERATOR(pg_catalog.=) 'd'
           OR EXISTS (SELECT FROM pg_catalog.pg_cast AS made
                      WHERE type.oid OPERATOR(pg_catalog.=) ANY (ARRAY[made.castsource, made.casttarget])
                        AND made.castfunc OPERATOR(pg_catalog.<>) 0::pg_catalog.oid))
) AS found (name, role, owns)
LEFT JOIN pg_catalog.pg_roles AS role ON role.oid OPERATOR(pg_catalog.=) found.role
WHERE role.oid IS NULL
   OR NOT ({trusted} OR {admin}
           OR pg_catalog.pg_has_role(role.oid, session_user, 'USAGE')
           OR pg_catalog.pg_has_role(role.oid, session_user, 'MEMBER WITH ADMIN OPTION'))
GROUP BY wanted.position, schema.nspname, role.rolname, found.name IS NULL
ORDER BY wanted.position, found.name IS NULL DESC, role.rolname
