-- Does as the table's owner what is deferred, until nothing is: whatever is done can defer more, and has to write a
-- row for that. A row written before and after a round tells by the numbers of their commands whether another was
-- written between; a number never comes twice. Then nothing is left to the end of the transaction but cursors, and nothing
-- to the session.
DECLARE
    azpg_before pg_catalog.int8;
    azpg_after pg_catalog.int8;
BEGIN
    FOR azpg_round IN 1..4 LOOP
        INSERT INTO azpg.marks DEFAULT VALUES RETURNING cmin::pg_catalog.text::pg_catalog.int8 INTO azpg_before;
        PERFORM FROM {act}('SELECT'::pg_catalog.text, false) AS azpg_answer (nothing pg_catalog.bool);
        INSERT INTO azpg.marks DEFAULT VALUES RETURNING cmin::pg_catalog.text::pg_catalog.int8 INTO azpg_after;
        EXIT WHEN azpg_after OPERATOR(pg_catalog.=) (azpg_before OPERATOR(pg_catalog.+) 1::pg_catalog.int8);
    END LOOP;
    IF azpg_after OPERATOR(pg_catalog.<>) (azpg_before OPERATOR(pg_catalog.+) 1::pg_catalog.int8) THEN
        RAISE EXCEPTION 'azpg: deferred triggers defer others' USING ERRCODE = {busy};
    END IF;
    -- What is temporary would be dropped when the session is another column's, and others may hold locks on it, or on what
    -- depends on it. Here that undoes the transaction.
    IF pg_catalog.pg_my_temp_schema() OPERATOR(pg_catalog.<>) 0::pg_catalog.oid THEN
        PERFORM pg_catalog.set_config('lock_timeout', {patience}, true);
        DISCARD TEMP;
    END IF;
    IF EXISTS (SELECT FROM pg_catalog.pg_cursors WHERE is_holdable) THEN
        RAISE EXCEPTION 'azpg: a cursor is held' USING ERRCODE = {held};
    END IF;
    DELETE FROM azpg.marks;
END
