#variable_conflict use_column
-- AFTER INSERT, UPDATE or DELETE, each statement: the keys of rows that changed wait for a worker.
DECLARE
    -- Vectors are held against those of before by a quick hash, which nobody knows beforehand.
    azpg_seed pg_catalog.int8 := pg_catalog.hashtextextended(pg_catalog.gen_random_uuid()::pg_catalog.text, 0);
BEGIN
    IF TG_OP OPERATOR(pg_catalog.=) 'INSERT' THEN
        DELETE FROM {state} AS azpg_state WHERE EXISTS (SELECT FROM azpg_new AS {table} WHERE {state_is_table});
        INSERT INTO {queue} ({own}) SELECT {keys} FROM azpg_new AS {table};
        RETURN NULL;
    END IF;
    DELETE FROM {state} AS azpg_state
    WHERE EXISTS (SELECT FROM azpg_old AS {table} WHERE {state_is_table})
      AND NOT EXISTS (SELECT FROM {relation} WHERE {table_is_state});
    IF TG_OP OPERATOR(pg_catalog.=) 'DELETE' THEN
        RETURN NULL;
    END IF;
    BEGIN
        -- A text and a vector are held against those of before by their hashes, of whatever size they are.
        WITH changed AS (
            SELECT {own} FROM (
                SELECT {named}, pg_catalog.sha256(pg_catalog.convert_to({text}, 'UTF8')) AS text, {vector} AS vector
                FROM azpg_new AS {table}
                EXCEPT ALL
                SELECT {named}, pg_catalog.sha256(pg_catalog.convert_to({text}, 'UTF8')) AS text, {vector} AS vector
                FROM azpg_old AS {table}
            ) AS azpg_changed
        ), forgotten AS (
            DELETE FROM {state} AS azpg_state WHERE EXISTS (SELECT FROM changed WHERE {state_is_changed})
        )
        INSERT INTO {queue} ({own}) SELECT {own} FROM changed;
    EXCEPTION WHEN OTHERS THEN  -- a text that cannot be read is the worker's to record, not the writer's
        INSERT INTO {queue} ({own}) SELECT {keys} FROM azpg_new AS {table};
    END;
    RETURN NULL;
END
