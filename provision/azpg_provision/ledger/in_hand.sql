-- Whether a trigger's function still has the rights of its table's owner: the WHEN of azpg's triggers. What a former
-- owner, or whoever restored a dump, has made of the function is not called any more, and nothing of a new owner's runs
-- with the rights of the one before. It belongs to who provisions, and the table's owner cannot change a WHEN.
--
-- Not immutable, but declared so: PostgreSQL asks once for each statement, when it plans the condition. A transaction
-- whose snapshot is older than the statement sees who owned both when it began: there, what has another version by now
-- counts as not in hand.
CREATE FUNCTION azpg.in_hand(relation pg_catalog.regclass, called pg_catalog.regprocedure, quiet pg_catalog.bool)
RETURNS pg_catalog.bool LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS
$$
BEGIN
    IF EXISTS (SELECT FROM pg_catalog.pg_class AS class
               JOIN pg_catalog.pg_proc AS function ON function.proowner OPERATOR(pg_catalog.=) class.relowner
               WHERE class.oid OPERATOR(pg_catalog.=) relation AND function.oid OPERATOR(pg_catalog.=) called
                 AND (pg_catalog.current_setting('transaction_isolation') OPERATOR(pg_catalog.=) 'read committed'
                      OR class.xmax::pg_catalog.text OPERATOR(pg_catalog.=) '0'
                         AND function.xmax::pg_catalog.text OPERATOR(pg_catalog.=) '0')) THEN
        RETURN true;
    END IF;
    IF NOT quiet THEN
        RAISE WARNING 'azpg: rows of % keep the embeddings that they had: their trigger has not the rights of the table''s owner',
            relation
            USING HINT = 'Run `azpg apply`, which makes it anew and embeds what has changed.';
    END IF;
    RETURN false;
END
$$;
GRANT EXECUTE ON FUNCTION azpg.in_hand(pg_catalog.regclass, pg_catalog.regprocedure, pg_catalog.bool) TO PUBLIC;
