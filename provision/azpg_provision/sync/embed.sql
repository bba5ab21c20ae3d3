#variable_conflict use_column
-- BEFORE INSERT OR UPDATE, each row: the vector of the new text. A failure leaves NULL and never fails the writer.
DECLARE
    azpg_text text;
    azpg_before text;
    azpg_changed boolean := TG_OP = 'INSERT';
BEGIN
    SELECT {source} INTO azpg_text FROM (SELECT (NEW).*) AS {table} WHERE {known};
    IF TG_OP = 'UPDATE' THEN
        BEGIN
            SELECT {source} INTO azpg_before FROM (SELECT (OLD).*) AS {table} WHERE {known};
            azpg_changed := azpg_text COLLATE "C" IS DISTINCT FROM azpg_before OR NOT ({same});
        EXCEPTION WHEN OTHERS THEN
            azpg_changed := true;
        END;
    END IF;
    IF azpg_changed THEN
        NEW.{column} := azure_local_ai.create_embeddings({model}, azpg_text);
    END IF;
    RETURN NEW;
EXCEPTION WHEN OTHERS THEN
    RAISE WARNING 'azpg: a row has no % yet: %', {name}, SQLERRM
        USING HINT = 'The row is written; `azpg vectorize` tries it again.';
    NEW.{column} := NULL;
    RETURN NEW;
END
