#variable_conflict use_column
-- AFTER INSERT OR UPDATE OR DELETE, each row: what is known of it, in step with what the trigger before it did.
DECLARE
    azpg_text pg_catalog.text;
    azpg_before pg_catalog.text;
    azpg_changed pg_catalog.bool := TG_OP OPERATOR(pg_catalog.=) 'INSERT';
BEGIN
    IF TG_OP OPERATOR(pg_catalog.=) 'DELETE' OR (TG_OP OPERATOR(pg_catalog.=) 'UPDATE' AND NOT ({same_key})) THEN
        DELETE FROM {state} WHERE {state_is_old} AND NOT EXISTS (SELECT FROM {relation} WHERE {table_is_old});
    END IF;
    IF TG_OP OPERATOR(pg_catalog.=) 'DELETE' THEN
        RETURN NULL;
    END IF;
    -- Nothing is written in a block that may fail: each row would be a transaction of its own.
    BEGIN
        IF TG_OP OPERATOR(pg_catalog.=) 'UPDATE' THEN
            IF {known} AND {untouched} THEN
                RETURN NULL;
            END IF;
        END IF;
        azpg_text := CASE WHEN {known} THEN {new_text} END;
        IF TG_OP OPERATOR(pg_catalog.=) 'UPDATE' THEN
            azpg_before := CASE WHEN {known} THEN {old_text} END;
            azpg_changed := azpg_text COLLATE pg_catalog."C" IS DISTINCT FROM azpg_before OR NOT ({same});
        END IF;
    EXCEPTION WHEN OTHERS THEN
        azpg_changed := true;
    END;
    IF NOT azpg_changed THEN
        RETURN NULL;
    END IF;{verified}
    IF azpg_text IS NULL OR NEW.{column} IS NULL THEN
        DELETE FROM {state} WHERE {state_is_new};
    ELSE
        INSERT INTO {state} ({own}, vector, hash)
        VALUES ({new}, {seen}, pg_catalog.sha256({fingerprint}::pg_catalog.bytea
                                         OPERATOR(pg_catalog.||) pg_catalog.convert_to(azpg_text, 'UTF8')))
        ON CONFLICT ({own}) DO UPDATE
        SET hash = excluded.hash, failure = NULL, sqlstate = NULL, attempts = excluded.attempts, at = excluded.at,
            vector = excluded.vector;
    END IF;
    RETURN NULL;
END
