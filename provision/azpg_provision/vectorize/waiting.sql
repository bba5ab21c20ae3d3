-- How many rows have no up-to-date embedding: as many as stale.sql finds, but all are read, by several processes at
-- once, and each text is made once.
SELECT pg_catalog.count(*)
FROM {relation}
LEFT JOIN {state} AS azpg_state ON {table_is_state}
WHERE CASE
    WHEN azpg_state.hash = pg_catalog.sha256({fingerprint}::pg_catalog.bytea OPERATOR(pg_catalog.||)
                                             pg_catalog.convert_to({text}, 'UTF8'))
        THEN (azpg_state.failure IS NULL AND {column} IS NULL)
             OR (azpg_state.failure IS NOT NULL AND azpg_state.vector IS NULL AND {column} IS NOT NULL)
             OR azpg_state.vector OPERATOR(pg_catalog.<>) {seen}
    WHEN azpg_state.hash = CASE WHEN azpg_state.failure IS NOT NULL THEN {hash_of_row} END THEN false
    WHEN ({text}) IS NULL THEN {column} IS NOT NULL
    ELSE true
END
