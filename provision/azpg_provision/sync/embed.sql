#variable_conflict use_column
-- BEFORE INSERT OR UPDATE, each row: the vector of the new text. A failure leaves NULL and never fails the writer.
-- It is called with the rights of the table's owner only: azpg_provision/ledger/in_hand.sql.
-- A model host that does not answer in its time is not asked again for as long, so that a statement waits for it once.
DECLARE
    azpg_text pg_catalog.text;
    azpg_before pg_catalog.text;
    azpg_changed pg_catalog.bool := TG_OP OPERATOR(pg_catalog.=) 'INSERT';
BEGIN
    IF TG_OP OPERATOR(pg_catalog.=) 'UPDATE' THEN
        IF {known} AND {untouched} THEN
            RETURN NEW;  -- neither what the text is made of, nor the vector
        END IF;
    END IF;
    azpg_text := CASE WHEN {known} THEN {new_text} END;
    IF TG_OP OPERATOR(pg_catalog.=) 'UPDATE' THEN
        BEGIN
            azpg_before := CASE WHEN {known} THEN {old_text} END;
            azpg_changed := azpg_text COLLATE pg_catalog."C" IS DISTINCT FROM azpg_before OR NOT ({same});
        EXCEPTION WHEN OTHERS THEN
            azpg_changed := true;
        END;
    END IF;
    IF azpg_changed THEN
        IF coalesce(current_setting('azpg_provision.silent_at', true), '') <> '' THEN
            IF 1000 * extract(epoch FROM clock_timestamp()) - current_setting('azpg_provision.silent_at')::numeric
               BETWEEN 0 AND {timeout}
            THEN
                RAISE EXCEPTION 'the model host did not answer in time a moment ago';
            END IF;
        END IF;
        -- Both names mean the same: they are looked up at once, with the types that it has.
        NEW.{column} := CASE
            WHEN azpg.trusted_function('azure_local_ai.create_embeddings(text, text, integer)'::regprocedure)
            THEN azure_local_ai.create_embeddings({model}::text, azpg_text, {timeout}::integer)
        END;
    END IF;
    RETURN NEW;
EXCEPTION WHEN query_canceled OR OTHERS THEN
    IF SQLSTATE = '57014' THEN
        IF SQLERRM NOT LIKE 'azure\_local\_ai.%' THEN
            RAISE;  -- somebody cancels the statement, or its own time is over
        END IF;
        PERFORM set_config('azpg_provision.silent_at', (1000 * extract(epoch FROM clock_timestamp()))::text, true);
    END IF;
    RAISE WARNING 'azpg: a row has no % yet: %', {name}, SQLERRM
        USING HINT = 'The row is written; `azpg vectorize` tries it again.';
    NEW.{column} := NULL;
    RETURN NEW;
END
