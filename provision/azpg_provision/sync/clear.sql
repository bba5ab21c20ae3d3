-- AFTER TRUNCATE: nothing is known of rows that are gone.
BEGIN
    IF EXISTS (SELECT FROM pg_catalog.pg_class AS azpg_class WHERE {owned}) THEN
        DELETE FROM {state};
    END IF;
    RETURN NULL;
END
