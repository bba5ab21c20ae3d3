#variable_conflict use_column
-- AFTER INSERT OR UPDATE OR DELETE, each row: what is known of it, in step with what the trigger before it did.
DECLARE
    azpg_text text;
    azpg_before text;
    azpg_changed boolean := TG_OP = 'INSERT';
BEGIN
    IF TG_OP = 'DELETE' OR (TG_OP = 'UPDATE' AND NOT ({same_key})) THEN
        DELETE FROM {state} WHERE {state_is_old} AND NOT EXISTS (SELECT FROM {relation} WHERE {table_is_old});
    END IF;
    IF TG_OP = 'DELETE' THEN
        RETURN NULL;
    END IF;
    -- Nothing is written in a block that may fail: each row would be a transaction of its own.
    BEGIN
        SELECT {source} INTO azpg_text FROM (SELECT (NEW).*) AS {table} WHERE {known};
        IF TG_OP = 'UPDATE' THEN
            SELECT {source} INTO azpg_before FROM (SELECT (OLD).*) AS {table} WHERE {known};
            azpg_changed := azpg_text COLLATE "C" IS DISTINCT FROM azpg_before OR NOT ({same});
        END IF;
    EXCEPTION WHEN OTHERS THEN
        azpg_changed := true;
    END;
    IF NOT azpg_changed THEN
        RETURN NULL;
    END IF;
    IF azpg_text IS NULL OR NEW.{column} IS NULL THEN
        DELETE FROM {state} WHERE {state_is_new};
    ELSE
        INSERT INTO {state} ({own}, hash)
        VALUES ({new}, sha256({fingerprint}::bytea || convert_to(azpg_text, 'UTF8')))
        ON CONFLICT ({own}) DO UPDATE
        SET hash = excluded.hash, failure = NULL, sqlstate = NULL, attempts = excluded.attempts, at = excluded.at;
    END IF;
    RETURN NULL;
END
