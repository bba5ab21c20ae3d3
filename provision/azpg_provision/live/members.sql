-- Of the wanted memberships (roles, the roles that they are to be members of) those that there are.
SELECT wanted.role, wanted.member_of
FROM unnest(%(roles)s::text[], %(members_of)s::text[]) AS wanted (role, member_of)
JOIN pg_catalog.pg_roles AS role ON role.rolname = wanted.role
JOIN pg_catalog.pg_roles AS other ON other.rolname = wanted.member_of
WHERE pg_catalog.pg_has_role(role.oid, other.oid, 'MEMBER')
