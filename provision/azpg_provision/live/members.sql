-- Of the wanted memberships (roles, the roles that they are to be members of) those that there are.
SELECT wanted.role, wanted.member_of
FROM ROWS FROM (
         pg_catalog.unnest(%(roles)s::pg_catalog.text[]),
         pg_catalog.unnest(%(members_of)s::pg_catalog.text[])) AS wanted (role, member_of)
JOIN pg_catalog.pg_roles AS role ON role.rolname OPERATOR(pg_catalog.=) wanted.role
JOIN pg_catalog.pg_roles AS other ON other.rolname OPERATOR(pg_catalog.=) wanted.member_of
WHERE pg_catalog.pg_has_role(role.oid, other.oid, 'MEMBER')
