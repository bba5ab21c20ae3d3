-- Runs a statement with the rights of the table's owner, which nothing in it can leave: whoever owns the table
-- may have triggers, types and functions there that it runs. The owner may ALTER this function, not its text; so
-- it makes sure of its rights by itself, with nothing but PostgreSQL's own in its names.
--
-- What the owner wrote finds names where the table is, but in no schema in which somebody may create who could
-- not act as the owner anyway. What the session finds afterwards is constant: what is found here may be the
-- owner's, too.
DECLARE
    azpg_owner pg_catalog.oid;
    azpg_names pg_catalog.text;
BEGIN
    SELECT class.relowner INTO azpg_owner
    FROM pg_catalog.pg_class AS class
    WHERE class.oid OPERATOR(pg_catalog.=) pg_catalog.to_regclass({relation})
      AND pg_catalog.pg_get_userbyid(class.relowner) OPERATOR(pg_catalog.=) current_user;
    IF azpg_owner IS NULL AND pg_catalog.to_regclass({relation}) IS NULL THEN
        RAISE EXCEPTION 'the table % does not exist', {relation} USING ERRCODE = 'undefined_table';
    END IF;
    IF azpg_owner IS NULL THEN
        RAISE EXCEPTION 'azpg: a function of % has other rights than the owner of its table', {name}
            USING ERRCODE = 'insufficient_privilege', HINT = 'Run `azpg apply`, which makes it anew.';
    END IF;
    IF NOT ARRAY({applied}) OPERATOR(pg_catalog.=) ARRAY[{was}] THEN
        RAISE EXCEPTION 'azpg: the table of %, its schema, the type of a column, or whose they are has changed since `azpg apply`', {name}
            USING ERRCODE = 'invalid_table_definition', HINT = 'Run `azpg apply`, which sees whether that is safe.';
    END IF;
    BEGIN
        PERFORM pg_catalog.set_config('role', 'none', true);
    EXCEPTION WHEN insufficient_privilege THEN  -- as it must be: no role can be set in a SECURITY DEFINER function
        SELECT pg_catalog.string_agg(pg_catalog.quote_ident(schema.nspname), ', ' ORDER BY wanted.position)
        INTO azpg_names
        FROM pg_catalog.unnest({schemas}::pg_catalog.text[]) WITH ORDINALITY AS wanted (name, position)
        JOIN pg_catalog.pg_namespace AS schema
          ON schema.nspname OPERATOR(pg_catalog.=) wanted.name::pg_catalog.name
        WHERE {safe};
        PERFORM pg_catalog.set_config('search_path', pg_catalog.concat_ws(', ', azpg_names, 'pg_temp'), true);
        SET CONSTRAINTS ALL IMMEDIATE;
        IF answers THEN
            RETURN QUERY EXECUTE statement;
        ELSE
            EXECUTE statement;
        END IF;
        SET CONSTRAINTS ALL IMMEDIATE;
        PERFORM pg_catalog.set_config('client_encoding', 'UTF8', false);
        PERFORM pg_catalog.set_config('row_security', 'off', false);
        PERFORM pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', false);
        RETURN;
    END;
    RAISE EXCEPTION 'azpg: a function of % has other rights than the owner of its table', {name}
        USING ERRCODE = 'insufficient_privilege', HINT = 'Run `azpg apply`, which makes it anew.';
END
