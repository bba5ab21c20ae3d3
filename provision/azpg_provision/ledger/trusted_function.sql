-- Whether a function is a superuser's, as those of an extension in C are; raises where it is not. What is called by its
-- name can be somebody else's by the time it is called: where the extension is not, whoever may create a schema can
-- make one of the same name.
--
-- Not immutable, but declared so: PostgreSQL asks once, when it plans the expression in which this and the call are,
-- and plans that anew after whatever happens to the function called. A plan is not kept where this raises. By the
-- snapshot of a transaction from before, a function that has been made since is none.
CREATE OR REPLACE FUNCTION azpg.trusted_function(called pg_catalog.regprocedure)
RETURNS pg_catalog.bool LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS
$$
BEGIN
    IF EXISTS (SELECT FROM pg_catalog.pg_proc AS function
               JOIN pg_catalog.pg_roles AS role ON role.oid OPERATOR(pg_catalog.=) function.proowner
               WHERE function.oid OPERATOR(pg_catalog.=) called AND role.rolsuper
                 AND NOT azpg.is_replaced(function.xmax)) THEN
        RETURN true;
    END IF;
    RAISE EXCEPTION 'the function % is not the extension''s', called USING ERRCODE = 'insufficient_privilege';
END
$$;
GRANT EXECUTE ON FUNCTION azpg.trusted_function(pg_catalog.regprocedure) TO PUBLIC;
