-- AFTER TRUNCATE: nothing is known of rows that are gone.
BEGIN
    DELETE FROM {state};
    RETURN NULL;
END
