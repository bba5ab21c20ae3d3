-- Embeds rows, and says: whether it was our turn, how many rows were found without an up-to-date embedding, how
-- many of them were taken, how many of those were written, and the key of the last one taken.
WITH azpg_turn AS MATERIALIZED ({turn}),
azpg_found AS MATERIALIZED (
    SELECT *, pg_catalog.row_number() OVER azpg_order AS n,
           pg_catalog.sum(coalesce(pg_catalog.octet_length(text), 0)) OVER (azpg_order ROWS UNBOUNDED PRECEDING) AS size
    FROM ({stale}) AS azpg_stale
    WINDOW azpg_order AS (ORDER BY {own})
),
azpg_taken AS MATERIALIZED (
    SELECT * FROM azpg_found WHERE n = 1 OR (n <= {rows} AND size <= {size})
),
azpg_made AS MATERIALIZED (
    SELECT made.id AS n, made.embedding
    FROM (SELECT pg_catalog.array_agg(text ORDER BY n) AS texts, pg_catalog.array_agg(n ORDER BY n) AS ids FROM azpg_taken) AS azpg_all
    -- One request for all texts: the model host packs what it is given by length.
    CROSS JOIN LATERAL azure_local_ai.create_embeddings({model}, azpg_all.texts, azpg_all.ids, 4096) AS made
),
-- A row that was changed meanwhile is looked at once more as it is now, by all of this condition.
azpg_held AS MATERIALIZED (
    SELECT azpg_taken.n, {taken_own}, azpg_taken.hash, azpg_made.embedding
    FROM {relation}, azpg_taken, azpg_made
    WHERE {table_is_taken} AND azpg_made.n = azpg_taken.n
      AND {text} COLLATE pg_catalog."C" IS NOT DISTINCT FROM azpg_taken.text
    FOR NO KEY UPDATE OF {table} SKIP LOCKED
),
azpg_written AS (
    UPDATE {relation} SET {column} = azpg_held.embedding
    FROM azpg_held
    WHERE {table_is_held}
    RETURNING azpg_held.n, {held_own}, azpg_held.hash, {seen} AS vector  -- as all triggers left it
),
azpg_noted AS (
    INSERT INTO {state} ({own}, hash, vector)
    SELECT {own}, hash, vector FROM azpg_written WHERE hash IS NOT NULL
    ON CONFLICT ({own}) DO UPDATE
    SET hash = excluded.hash, failure = NULL, sqlstate = NULL, attempts = excluded.attempts, at = excluded.at,
        vector = excluded.vector
),
{after}
SELECT EXISTS (SELECT FROM azpg_turn), (SELECT pg_catalog.count(*) FROM azpg_found), (SELECT pg_catalog.count(*) FROM azpg_taken),
       (SELECT pg_catalog.count(*) FROM azpg_written), (SELECT {last} FROM azpg_taken ORDER BY n DESC LIMIT 1)
