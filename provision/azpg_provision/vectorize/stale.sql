-- Rows without an up-to-date embedding. The text is in a scope of its own; OFFSET 0 keeps it there, so that it is
-- computed once.
SELECT {own}, azpg_row.text, azpg_hash.hash
FROM (
    SELECT {keys}, {text} AS text, {column} IS NULL AS bare, {seen} AS seen
    FROM {relation}
    WHERE {which}
      AND NOT EXISTS (
          SELECT FROM {state} AS azpg_state
          WHERE {table_is_state} AND azpg_state.failure IS NOT NULL
            -- Not before the key has been found: a row is long, vector and all, and few have a failure recorded.
            AND azpg_state.hash = CASE WHEN azpg_state.failure IS NOT NULL THEN {hash_of_row} END)
    OFFSET 0
) AS azpg_row
CROSS JOIN LATERAL (SELECT pg_catalog.sha256({fingerprint}::pg_catalog.bytea OPERATOR(pg_catalog.||)
                                               pg_catalog.convert_to(azpg_row.text, 'UTF8')) AS hash) AS azpg_hash
LEFT JOIN {state} AS azpg_state ON {row_is_state}
WHERE CASE
    WHEN azpg_row.text IS NULL THEN NOT azpg_row.bare
    ELSE azpg_state.hash IS DISTINCT FROM azpg_hash.hash OR (azpg_state.failure IS NULL AND azpg_row.bare)
         -- A failure has taken the vector away, or noted which one it had to leave.
         OR (azpg_state.failure IS NOT NULL AND azpg_state.vector IS NULL AND NOT azpg_row.bare)
         OR azpg_state.vector OPERATOR(pg_catalog.<>) azpg_row.seen
END
