-- Whether nobody but the table's owner or an admin, as azpg_provision.live.trust.own says, owns the types of a column's
-- key, or a function in the conditions of its domains: azpg.state_N has columns of these types, whose values are written,
-- compared and read with the owner's rights. A part of the WHEN of azpg's triggers where the key has types that are not
-- PostgreSQL's own. What else is judged, apply and workers judge: azpg_provision/sync/dependencies.sql.
--
-- Called by azpg.types_in_hand, which runs as who provisions: that is the present role.
--
-- VOLATILE, and asked by one that is declared immutable, as in in_hand.sql.
CREATE OR REPLACE FUNCTION azpg.has_safe_types(relation pg_catalog.regclass, number pg_catalog.int4)
RETURNS pg_catalog.bool LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS
$$
BEGIN
    RETURN NOT EXISTS (
        WITH RECURSIVE azpg_type (oid) AS (
            SELECT attribute.atttypid
            FROM pg_catalog.pg_class AS state
            JOIN pg_catalog.pg_attribute AS attribute ON attribute.attrelid OPERATOR(pg_catalog.=) state.oid
            WHERE state.relnamespace OPERATOR(pg_catalog.=) pg_catalog.to_regnamespace('azpg')
              AND state.relname OPERATOR(pg_catalog.=) pg_catalog.concat('state_', number)::pg_catalog.name
              AND pg_catalog.starts_with(attribute.attname::pg_catalog.text, 'key_')
            UNION
            SELECT part.oid
            FROM azpg_type
            CROSS JOIN LATERAL (
                SELECT type.oid, type.typelem, type.typbasetype, type.typrelid FROM pg_catalog.pg_type AS type
                WHERE type.oid OPERATOR(pg_catalog.=) azpg_type.oid OFFSET 0
            ) AS type
            CROSS JOIN LATERAL (
                SELECT type.typelem UNION ALL SELECT type.typbasetype
                UNION ALL
                SELECT range.rngsubtype FROM pg_catalog.pg_range AS range
                WHERE type.oid OPERATOR(pg_catalog.=) ANY (ARRAY[range.rngtypid, range.rngmultitypid])
                UNION ALL
                SELECT attribute.atttypid FROM pg_catalog.pg_attribute AS attribute
                WHERE type.typrelid OPERATOR(pg_catalog.<>) 0::pg_catalog.oid
                  AND attribute.attrelid OPERATOR(pg_catalog.=) type.typrelid
                  AND attribute.attnum OPERATOR(pg_catalog.>) 0 AND NOT attribute.attisdropped
            ) AS part (oid)
            WHERE part.oid OPERATOR(pg_catalog.<>) 0::pg_catalog.oid
        ), azpg_used (owner, version) AS (
            -- OFFSET keeps each look one by an index, however many types and conditions the database has.
            SELECT type.typowner, type.xmax
            FROM azpg_type
            CROSS JOIN LATERAL (
                SELECT type.typowner, type.xmax FROM pg_catalog.pg_type AS type
                WHERE type.oid OPERATOR(pg_catalog.=) azpg_type.oid OFFSET 0
            ) AS type
            UNION ALL
            SELECT function.proowner, function.xmax
            FROM azpg_type
            CROSS JOIN LATERAL (
                SELECT rule.oid FROM pg_catalog.pg_constraint AS rule
                WHERE rule.contypid OPERATOR(pg_catalog.=) azpg_type.oid OFFSET 0
            ) AS rule
            CROSS JOIN LATERAL (
                SELECT depend.refobjid FROM pg_catalog.pg_depend AS depend
                WHERE depend.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_constraint'::pg_catalog.regclass
                  AND depend.objid OPERATOR(pg_catalog.=) rule.oid
                  AND depend.refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_proc'::pg_catalog.regclass OFFSET 0
            ) AS depend
            CROSS JOIN LATERAL (
                SELECT function.proowner, function.xmax FROM pg_catalog.pg_proc AS function
                WHERE function.oid OPERATOR(pg_catalog.=) depend.refobjid OFFSET 0
            ) AS function
        )
        SELECT FROM azpg_used
        JOIN pg_catalog.pg_roles AS role ON role.oid OPERATOR(pg_catalog.=) azpg_used.owner
        JOIN pg_catalog.pg_class AS class ON class.oid OPERATOR(pg_catalog.=) relation
        JOIN pg_catalog.pg_roles AS owner ON owner.oid OPERATOR(pg_catalog.=) class.relowner
        WHERE NOT {own} OR azpg.is_replaced(azpg_used.version));
END
$$;
REVOKE EXECUTE ON FUNCTION azpg.has_safe_types(pg_catalog.regclass, pg_catalog.int4) FROM PUBLIC;

CREATE OR REPLACE FUNCTION azpg.types_in_hand(relation pg_catalog.regclass, number pg_catalog.int4, quiet pg_catalog.bool)
RETURNS pg_catalog.bool LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS
$$
BEGIN
    IF azpg.has_safe_types(relation, number) THEN
        RETURN true;
    END IF;
    IF NOT quiet THEN
        RAISE WARNING 'azpg: rows of % keep the embeddings that they had: a type of its key belongs to another role',
            relation
            USING HINT = 'Run `azpg plan`, which says which one it is, and what to do.';
    END IF;
    RETURN false;
END
$$;
GRANT EXECUTE ON FUNCTION azpg.types_in_hand(pg_catalog.regclass, pg_catalog.int4, pg_catalog.bool) TO PUBLIC;
