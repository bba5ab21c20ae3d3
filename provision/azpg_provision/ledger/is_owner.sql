-- Whether who asks owns a table. Not immutable, but declared so, that its answer becomes a part of plans: PostgreSQL
-- makes a plan whose statement names a relation anew after whatever happens to that relation, to its owner, too.
CREATE FUNCTION azpg.is_owner(relation pg_catalog.regclass) RETURNS pg_catalog.bool
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN EXISTS (
    SELECT FROM pg_catalog.pg_class AS class
    WHERE class.oid OPERATOR(pg_catalog.=) relation
      AND pg_catalog.pg_get_userbyid(class.relowner) OPERATOR(pg_catalog.=) current_user
);
GRANT EXECUTE ON FUNCTION azpg.is_owner(pg_catalog.regclass) TO PUBLIC;
