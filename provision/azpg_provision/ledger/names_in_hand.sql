-- Whether the types and operators by which the triggers of a column compare its keys have the names that they had when
-- the triggers were made: an extension may be put into another schema, and where it was others may have made their own.
-- A part of the WHEN of azpg's triggers where the key has types that are not PostgreSQL's own. `digest` is what
-- azpg_provision.sync.triggers has made of those names.
--
-- VOLATILE, and asked by one that is declared immutable, as in in_hand.sql; what an old snapshot does not show of the
-- types, azpg.types_in_hand sees.
CREATE OR REPLACE FUNCTION azpg.has_same_names(number pg_catalog.int4, digest pg_catalog.text)
RETURNS pg_catalog.bool LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS
$$
BEGIN
    RETURN digest OPERATOR(pg_catalog.=) (
        SELECT pg_catalog.encode(pg_catalog.sha256(pg_catalog.convert_to(pg_catalog.string_agg(pg_catalog.concat_ws(
                   ' ', part.names OPERATOR(pg_catalog.->>) 0, part.names OPERATOR(pg_catalog.->>) 1,
                   part.names OPERATOR(pg_catalog.->>) 2), ', ' ORDER BY part.position), 'UTF8')), 'hex')
        FROM (VALUES (number)) AS c (id)
        CROSS JOIN LATERAL (
            {comparisons}
        ) AS found (comparisons)
        CROSS JOIN LATERAL pg_catalog.jsonb_array_elements(found.comparisons) WITH ORDINALITY AS part (names, position));
END
$$;
REVOKE EXECUTE ON FUNCTION azpg.has_same_names(pg_catalog.int4, pg_catalog.text) FROM PUBLIC;

CREATE OR REPLACE FUNCTION azpg.names_in_hand(
    relation pg_catalog.regclass, number pg_catalog.int4, digest pg_catalog.text, quiet pg_catalog.bool
) RETURNS pg_catalog.bool LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS
$$
BEGIN
    IF azpg.has_same_names(number, digest) THEN
        RETURN true;
    END IF;
    IF NOT quiet THEN
        RAISE WARNING 'azpg: rows of % keep the embeddings that they had: a type of its key has another name, or schema',
            relation
            USING HINT = 'Run `azpg apply`, which makes the triggers anew and embeds what has changed.';
    END IF;
    RETURN false;
END
$$;
GRANT EXECUTE ON FUNCTION azpg.names_in_hand(pg_catalog.regclass, pg_catalog.int4, pg_catalog.text, pg_catalog.bool) TO PUBLIC;
