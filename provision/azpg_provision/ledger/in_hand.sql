-- Whether a row of a catalogue, by its xmax, has another version by now, which the transaction does not see: one that has
-- one snapshot for all of its statements. What others have rolled back leaves its number there, too, and is nothing.
CREATE OR REPLACE FUNCTION azpg.is_replaced(version pg_catalog.xid)
RETURNS pg_catalog.bool LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS
$$
DECLARE
    azpg_low pg_catalog.int8 := version::pg_catalog.text;
    azpg_next pg_catalog.int8;
BEGIN
    IF azpg_low OPERATOR(pg_catalog.=) 0
       OR pg_catalog.current_setting('transaction_isolation') OPERATOR(pg_catalog.=) 'read committed' THEN
        RETURN false;
    END IF;
    azpg_next := pg_catalog.pg_snapshot_xmax(pg_catalog.pg_current_snapshot())::pg_catalog.text;
    -- The number's last 32 bits are known, and that it is within 2^31 of the present ones.
    RETURN coalesce(pg_catalog.pg_xact_status((
        azpg_next OPERATOR(pg_catalog.-) 2147483648
        OPERATOR(pg_catalog.+) ((azpg_low OPERATOR(pg_catalog.-) azpg_next OPERATOR(pg_catalog.+) 2147483648)
                                OPERATOR(pg_catalog.&) 4294967295)
    )::pg_catalog.text::pg_catalog.xid8), 'committed') OPERATOR(pg_catalog.=) 'committed';
END
$$;
REVOKE EXECUTE ON FUNCTION azpg.is_replaced(pg_catalog.xid) FROM PUBLIC;

-- Whether a trigger's function has the rights of its table's owner just now.
--
-- VOLATILE: it sees what was committed a moment ago, also where the statement that writes has an older snapshot, as COPY
-- has, which takes it before it waits for the table.
CREATE OR REPLACE FUNCTION azpg.has_one_owner(relation pg_catalog.regclass, called pg_catalog.regprocedure)
RETURNS pg_catalog.bool LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS
$$
BEGIN
    RETURN EXISTS (SELECT FROM pg_catalog.pg_class AS class
                   JOIN pg_catalog.pg_proc AS function ON function.proowner OPERATOR(pg_catalog.=) class.relowner
                   WHERE class.oid OPERATOR(pg_catalog.=) relation AND function.oid OPERATOR(pg_catalog.=) called
                     AND NOT azpg.is_replaced(class.xmax) AND NOT azpg.is_replaced(function.xmax));
END
$$;
REVOKE EXECUTE ON FUNCTION azpg.has_one_owner(pg_catalog.regclass, pg_catalog.regprocedure) FROM PUBLIC;

-- The WHEN of azpg's triggers: what a former owner, or whoever restored a dump, has made of the function is not called
-- any more, and nothing of a new owner's runs with the rights of the one before. It belongs to who provisions, with
-- whose rights it calls the other one, and the table's owner cannot change a WHEN.
--
-- Not immutable, but declared so: PostgreSQL asks once for each statement, when it plans the condition.
CREATE OR REPLACE FUNCTION azpg.in_hand(relation pg_catalog.regclass, called pg_catalog.regprocedure, quiet pg_catalog.bool)
RETURNS pg_catalog.bool LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS
$$
BEGIN
    IF azpg.has_one_owner(relation, called) THEN
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
