-- Rows without an up-to-date embedding. The user's expression is in a scope of its own, in which the table goes
-- by its own name, alone; OFFSET 0 keeps it there, so that it is computed once.
SELECT {own}, azpg_row.text, azpg_hash.hash
FROM (
    SELECT {keys}, {source} AS text, {column} IS NULL AS bare
    FROM {relation}
    WHERE {which}
      AND NOT EXISTS (
          SELECT FROM {state} AS azpg_state
          WHERE {table_is_state} AND azpg_state.failure IS NOT NULL AND azpg_state.hash = {hash_of_row})
    OFFSET 0
) AS azpg_row
CROSS JOIN LATERAL (SELECT sha256({fingerprint}::bytea || convert_to(azpg_row.text, 'UTF8')) AS hash) AS azpg_hash
LEFT JOIN {state} AS azpg_state ON {row_is_state}
WHERE CASE
    WHEN azpg_row.text IS NULL THEN NOT azpg_row.bare
    ELSE azpg_state.hash IS DISTINCT FROM azpg_hash.hash OR (azpg_state.failure IS NULL AND azpg_row.bare)
END
