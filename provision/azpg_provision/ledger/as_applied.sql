-- What a column's text depends on of all that is not PostgreSQL's own, and whose that is, as a hash; empty if it depends
-- on nothing. Of a function also its settings, and who may create where it finds names.
CREATE OR REPLACE FUNCTION azpg.text_calls(number pg_catalog.int4)
RETURNS pg_catalog.text LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp SET quote_all_identifiers = off AS
$$
BEGIN
    IF NOT {calls_some} THEN
        RETURN '';
    END IF;
    RETURN (
        WITH RECURSIVE azpg_object (of, class, object) AS (
            {objects}
        )
        SELECT CASE WHEN pg_catalog.bool_or(azpg_used.replaced) THEN 'replaced'
                    ELSE pg_catalog.encode(pg_catalog.sha256(pg_catalog.convert_to(coalesce(
                             pg_catalog.string_agg(azpg_used.text, ' ' ORDER BY azpg_used.text COLLATE pg_catalog."C"), ''),
                             'UTF8')), 'hex')
               END
        FROM (
            SELECT DISTINCT part.text, version.replaced
            FROM azpg_object
            LEFT JOIN pg_catalog.pg_proc AS function
                   ON azpg_object.class OPERATOR(pg_catalog.=) 'pg_catalog.pg_proc'::pg_catalog.regclass
                  AND function.oid OPERATOR(pg_catalog.=) azpg_object.object
            LEFT JOIN pg_catalog.pg_type AS type
                   ON azpg_object.class OPERATOR(pg_catalog.=) 'pg_catalog.pg_type'::pg_catalog.regclass
                  AND type.oid OPERATOR(pg_catalog.=) azpg_object.object
            LEFT JOIN pg_catalog.pg_class AS class
                   ON azpg_object.class OPERATOR(pg_catalog.=) 'pg_catalog.pg_class'::pg_catalog.regclass
                  AND class.oid OPERATOR(pg_catalog.=) azpg_object.object
            LEFT JOIN pg_catalog.pg_operator AS operator
                   ON azpg_object.class OPERATOR(pg_catalog.=) 'pg_catalog.pg_operator'::pg_catalog.regclass
                  AND operator.oid OPERATOR(pg_catalog.=) azpg_object.object
            LEFT JOIN pg_catalog.pg_opclass AS opclass
                   ON azpg_object.class OPERATOR(pg_catalog.=) 'pg_catalog.pg_opclass'::pg_catalog.regclass
                  AND opclass.oid OPERATOR(pg_catalog.=) azpg_object.object
            LEFT JOIN pg_catalog.pg_collation AS rule
                   ON azpg_object.class OPERATOR(pg_catalog.=) 'pg_catalog.pg_collation'::pg_catalog.regclass
                  AND rule.oid OPERATOR(pg_catalog.=) azpg_object.object
            LEFT JOIN pg_catalog.pg_ts_config AS search
                   ON azpg_object.class OPERATOR(pg_catalog.=) 'pg_catalog.pg_ts_config'::pg_catalog.regclass
                  AND search.oid OPERATOR(pg_catalog.=) azpg_object.object
            LEFT JOIN pg_catalog.pg_ts_dict AS dictionary
                   ON azpg_object.class OPERATOR(pg_catalog.=) 'pg_catalog.pg_ts_dict'::pg_catalog.regclass
                  AND dictionary.oid OPERATOR(pg_catalog.=) azpg_object.object
            CROSS JOIN LATERAL (
                SELECT coalesce(function.proowner, type.typowner, class.relowner, operator.oprowner, opclass.opcowner,
                                rule.collowner, search.cfgowner, dictionary.dictowner)
            ) AS whose (owner)
            CROSS JOIN LATERAL (
                SELECT pg_catalog.concat_ws(' ',
                    -- Of relations only whose they are: a table may get further parts each day.
                    CASE WHEN class.oid IS NULL
                         THEN (pg_catalog.pg_identify_object(azpg_object.class, azpg_object.object, 0)).identity END,
                    whose.owner,
                    pg_catalog.quote_literal(function.proconfig::pg_catalog.text),
                    function.prosecdef, function.prosqlbody IS NULL,
                    CASE WHEN function.proconfig IS NOT NULL THEN (SELECT pg_catalog.string_agg(pg_catalog.concat_ws(' ',
                                pg_catalog.quote_literal(schema.nspname::pg_catalog.text),
                                schema.nspowner,
                                (SELECT pg_catalog.string_agg(acl.grantee::pg_catalog.text, ' ' ORDER BY acl.grantee)
                                 FROM pg_catalog.aclexplode(coalesce(
                                     schema.nspacl, pg_catalog.acldefault('n', schema.nspowner))) AS acl
                                 WHERE acl.privilege_type OPERATOR(pg_catalog.=) 'CREATE')),
                                ' ' ORDER BY schema.nspname)
                     FROM pg_catalog.pg_namespace AS schema
                     WHERE schema.nspname OPERATOR(pg_catalog.<>) 'pg_catalog'
                       AND pg_catalog.strpos(
                           pg_catalog.array_to_string(function.proconfig, ' '),
                           pg_catalog.replace(schema.nspname::pg_catalog.text, '"', '""')) OPERATOR(pg_catalog.>) 0) END)
            ) AS part (text)
            CROSS JOIN LATERAL (
                SELECT azpg.is_replaced(coalesce(
                    function.xmax, type.xmax, class.xmax, operator.xmax, opclass.xmax, rule.xmax, search.xmax,
                    dictionary.xmax, '0'::pg_catalog.xid))
            ) AS version (replaced)
            LEFT JOIN pg_catalog.pg_roles AS role ON role.oid OPERATOR(pg_catalog.=) whose.owner
            -- But for what is a superuser's, as what comes with PostgreSQL and with extensions, unless it looks names up.
            WHERE NOT coalesce(role.rolsuper, false) OR version.replaced
               OR function.prosqlbody IS NULL AND function.prolang OPERATOR(pg_catalog.<>) ALL (
                   '{12,13}'::pg_catalog.oid[])  -- internal, c
        ) AS azpg_used (text, replaced));
END
$$;
REVOKE EXECUTE ON FUNCTION azpg.text_calls(pg_catalog.int4) FROM PUBLIC;

-- Whether a table is what `azpg apply` has seen: its name and its owner's, the owner of its schema, who could give the name
-- to another table, and whose the types are of the columns that azpg reads and writes, as far as they are not
-- PostgreSQL's own. What is looked up by these names, and by these types, is then what it was; and nothing that hangs on
-- azpg's tables runs with the rights of whom they have gone to.
--
-- VOLATILE, and asked by one that is declared immutable, as in in_hand.sql.
CREATE OR REPLACE FUNCTION azpg.is_as_applied(relation pg_catalog.regclass, number pg_catalog.int4)
RETURNS pg_catalog.bool LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS
$$
#variable_conflict use_variable
BEGIN
    RETURN EXISTS (
        SELECT FROM azpg.columns AS own
        WHERE own.id OPERATOR(pg_catalog.=) number
          -- A transaction that has changed what another one had changed sees two.
          AND ARRAY({applied}) OPERATOR(pg_catalog.=) ARRAY[own.applied]
          AND own.calls OPERATOR(pg_catalog.=) CASE WHEN {calls_some} THEN azpg.text_calls(number) ELSE '' END
          AND NOT EXISTS (
              SELECT FROM pg_catalog.pg_class AS class
              JOIN pg_catalog.pg_namespace AS schema ON schema.oid OPERATOR(pg_catalog.=) class.relnamespace
              WHERE class.oid OPERATOR(pg_catalog.=) relation
                -- By no snapshot, as names in a statement are. Without the right to look there it would raise.
                AND (CASE WHEN pg_catalog.has_schema_privilege(schema.oid, 'USAGE')
                          THEN pg_catalog.to_regclass(pg_catalog.concat(
                                   pg_catalog.quote_ident(schema.nspname), '.', pg_catalog.quote_ident(class.relname)))
                     END IS DISTINCT FROM relation
                     OR azpg.is_replaced(class.xmax)))
          AND NOT EXISTS (
              SELECT FROM pg_catalog.pg_attribute AS attribute
              JOIN pg_catalog.pg_type AS type ON type.oid OPERATOR(pg_catalog.=) attribute.atttypid
              WHERE attribute.attrelid OPERATOR(pg_catalog.=) relation
                AND attribute.attname OPERATOR(pg_catalog.=) ANY (own.reads)
                AND (azpg.is_replaced(attribute.xmax) OR azpg.is_replaced(type.xmax)))
          -- Whose its type is, the other conditions ask: here only whether it is still that of azpg's own columns.
          AND NOT EXISTS (
              SELECT FROM pg_catalog.unnest(own.keys) WITH ORDINALITY AS key (name, position)
              JOIN pg_catalog.pg_attribute AS attribute ON attribute.attrelid OPERATOR(pg_catalog.=) relation
                                                       AND attribute.attname OPERATOR(pg_catalog.=) key.name
              JOIN pg_catalog.pg_type AS type ON type.oid OPERATOR(pg_catalog.=) attribute.atttypid
              JOIN pg_catalog.pg_attribute AS kept
                ON kept.attrelid OPERATOR(pg_catalog.=) pg_catalog.to_regclass(pg_catalog.concat('azpg.state_', number))
               AND kept.attname OPERATOR(pg_catalog.=) pg_catalog.concat('key_', key.position)::pg_catalog.name
              WHERE azpg.is_replaced(attribute.xmax)
                 OR type.typnamespace OPERATOR(pg_catalog.<>) 'pg_catalog'::pg_catalog.regnamespace
                    AND type.oid OPERATOR(pg_catalog.<>) kept.atttypid));
END
$$;
REVOKE EXECUTE ON FUNCTION azpg.is_as_applied(pg_catalog.regclass, pg_catalog.int4) FROM PUBLIC;

CREATE OR REPLACE FUNCTION azpg.as_applied(relation pg_catalog.regclass, number pg_catalog.int4, quiet pg_catalog.bool)
RETURNS pg_catalog.bool LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS
$$
BEGIN
    IF azpg.is_as_applied(relation, number) THEN
        RETURN true;
    END IF;
    -- azpg.in_hand says it if the table has another owner than its functions.
    IF NOT quiet AND azpg.has_one_owner(relation, pg_catalog.to_regprocedure(
        pg_catalog.concat('azpg.act_', number, '(pg_catalog.text, pg_catalog.bool)')))
    THEN
        RAISE WARNING 'azpg: rows of % keep the embeddings that they had: the table, its schema, the type of a column, what the text calls, or whose they are has changed since `azpg apply`',
            relation
            USING HINT = 'Run `azpg apply`, which sees whether that is safe, and embeds what has changed.';
    END IF;
    RETURN false;
END
$$;
GRANT EXECUTE ON FUNCTION azpg.as_applied(pg_catalog.regclass, pg_catalog.int4, pg_catalog.bool) TO PUBLIC;
