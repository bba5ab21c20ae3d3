-- Whether no trigger that is fired before a row is written is fired after azpg's own, which has embedded it: such a one
-- could have put another vector there, and be gone by the time that anybody looks.
--
-- VOLATILE, and asked by one that is declared immutable, as in in_hand.sql. Nobody can make a trigger, or drop one, while
-- a statement writes; but a snapshot from before does not show it: note.sql.
CREATE OR REPLACE FUNCTION azpg.last_before(relation pg_catalog.regclass, called pg_catalog.name)
RETURNS pg_catalog.text LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS
$$
BEGIN
    RETURN (SELECT pg_catalog.max(trigger.tgname::pg_catalog.text)
            FROM pg_catalog.pg_trigger AS trigger
            JOIN pg_catalog.pg_class AS class ON class.oid OPERATOR(pg_catalog.=) trigger.tgrelid
            JOIN pg_catalog.pg_proc AS function ON function.oid OPERATOR(pg_catalog.=) trigger.tgfoid
            WHERE trigger.tgrelid OPERATOR(pg_catalog.=) relation AND NOT trigger.tgisinternal
              AND trigger.tgenabled OPERATOR(pg_catalog.<>) 'D'
              -- FOR EACH ROW and BEFORE, INSERT or UPDATE.
              AND (trigger.tgtype OPERATOR(pg_catalog.&) 3::pg_catalog.int2) OPERATOR(pg_catalog.=) 3
              AND (trigger.tgtype OPERATOR(pg_catalog.&) 20::pg_catalog.int2) OPERATOR(pg_catalog.<>) 0
              AND trigger.tgname OPERATOR(pg_catalog.>) called
              -- But for those of the table's other columns.
              AND NOT (function.pronamespace OPERATOR(pg_catalog.=) 'azpg'::pg_catalog.regnamespace
                       AND function.proowner OPERATOR(pg_catalog.=) class.relowner
                       AND trigger.tgname OPERATOR(pg_catalog.=) pg_catalog.concat('zzz_azpg_', pg_catalog.replace(
                           function.proname::pg_catalog.text, 'embed_', ''), '_embed')::pg_catalog.name));
END
$$;
REVOKE EXECUTE ON FUNCTION azpg.last_before(pg_catalog.regclass, pg_catalog.name) FROM PUBLIC;

CREATE OR REPLACE FUNCTION azpg.is_last(relation pg_catalog.regclass, called pg_catalog.name, quiet pg_catalog.bool)
RETURNS pg_catalog.bool LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS
$$
DECLARE
    azpg_other pg_catalog.text := azpg.last_before(relation, called);
BEGIN
    IF azpg_other IS NULL THEN
        RETURN true;
    END IF;
    IF NOT quiet THEN
        RAISE WARNING 'azpg: rows of % wait for `azpg vectorize`: the trigger % is fired after azpg''s', relation, azpg_other
            USING HINT = 'Give it a name before zzz_azpg in the alphabet.';
    END IF;
    RETURN false;
END
$$;
GRANT EXECUTE ON FUNCTION azpg.is_last(pg_catalog.regclass, pg_catalog.name, pg_catalog.bool) TO PUBLIC;
