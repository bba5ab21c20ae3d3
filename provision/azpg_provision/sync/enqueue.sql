#variable_conflict use_column
-- AFTER INSERT, UPDATE or DELETE, each statement: the keys of rows that changed wait for a worker.
BEGIN
    IF TG_OP = 'INSERT' THEN
        DELETE FROM {state} WHERE ({own}) IN (SELECT {keys} FROM azpg_new AS {table});
        INSERT INTO {queue} ({own}) SELECT {keys} FROM azpg_new AS {table};
        RETURN NULL;
    END IF;
    DELETE FROM {state} AS azpg_state
    WHERE ({own}) IN (SELECT {keys} FROM azpg_old AS {table})
      AND NOT EXISTS (SELECT FROM {relation} WHERE {table_is_state});
    IF TG_OP = 'DELETE' THEN
        RETURN NULL;
    END IF;
    BEGIN
        -- A text and a vector are held against those of before by their hashes, of whatever size they are.
        WITH changed AS (
            SELECT {own} FROM (
                SELECT {named}, sha256(convert_to({source}, 'UTF8')) AS text, {vector} AS vector
                FROM azpg_new AS {table}
                EXCEPT ALL
                SELECT {named}, sha256(convert_to({source}, 'UTF8')) AS text, {vector} AS vector
                FROM azpg_old AS {table}
            ) AS azpg_changed
        ), forgotten AS (
            DELETE FROM {state} WHERE ({own}) IN (SELECT {own} FROM changed)
        )
        INSERT INTO {queue} ({own}) SELECT {own} FROM changed;
    EXCEPTION WHEN OTHERS THEN  -- a text that cannot be read is the worker's to record, not the writer's
        INSERT INTO {queue} ({own}) SELECT {keys} FROM azpg_new AS {table};
    END;
    RETURN NULL;
END
