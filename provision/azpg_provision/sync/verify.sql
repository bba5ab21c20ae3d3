
    -- Where the text is made of more than its row, what was embedded before the row was written may have been another. By
    -- an older snapshot than its own, a statement does not see which triggers it has fired: azpg.is_last. Only the vector
    -- of this text is known as its vector then; any other waits for `azpg vectorize`.
    IF ({volatile} OR current_setting('transaction_isolation') <> 'read committed') AND azpg_text IS NOT NULL AND NEW.{column} IS NOT NULL THEN
        DECLARE
            azpg_known pg_catalog.bool := false;
        BEGIN
            IF NOT coalesce(1000 * extract(epoch FROM clock_timestamp())
                            - nullif(current_setting('azpg_provision.silent_at', true), '')::numeric
                            BETWEEN 0 AND {timeout}, false)
            THEN
                -- But for what other kernels, or a type of half the precision, make of it.
                SELECT coalesce(sum((coalesce(part.found, 0) - coalesce(part.made, 0)) ^ 2)
                                <= 1e-6 * sum(coalesce(part.made, 0) ^ 2), false)
                INTO azpg_known
                FROM unnest(NEW.{column}::real[]::float8[], CASE
                                -- As in embed.sql.
                                WHEN azpg.trusted_function('azure_local_ai.create_embeddings(text, text, integer)'::regprocedure)
                                THEN azure_local_ai.create_embeddings({model}::text, azpg_text, {timeout}::integer)::float8[]
                            END) AS part (found, made);
            END IF;
            IF NOT azpg_known THEN
                azpg_text := NULL;
            END IF;
        EXCEPTION WHEN query_canceled OR OTHERS THEN
            IF SQLSTATE = '57014' THEN
                IF SQLERRM NOT LIKE 'azure\_local\_ai.%' THEN
                    RAISE;  -- somebody cancels the statement, or its own time is over
                END IF;
                PERFORM set_config('azpg_provision.silent_at', (1000 * extract(epoch FROM clock_timestamp()))::text, true);
            END IF;
            azpg_text := NULL;
        END;
    END IF;