-- Of all that {{first}} selects, objects by a number that several may have, and what that depends on, what may not
-- stay: the number, the table's owner, and whether names count, of the case; its name, its owner, the table's owner by
-- name, whether it is the owner whom to trust, for a function of such an owner its search_path and its body in SQL, and
-- whether it is PostgreSQL's own or names one of those that run a text as SQL: what others own than those whom
-- azpg_provision.live.trust.own names; or, where names count, what looks names up when it runs, such as a function whose
-- body is a string, unless its search_path ends with pg_temp and has only schemas before it in which nobody may create
-- who could not act as the table's owner anyway: else a table of the same name that a writer makes for itself could be
-- found first. {{cases}} selects such numbers, owners of tables, and whether names count: what tables have in common is
-- looked through once.
--
-- Of a function in C nobody knows what it runs: one that is not immutable counts, unless it is of an extension that is
-- known to run nothing. No text calls those with arguments of PostgreSQL's own inside. PostgreSQL notes no dependency on
-- functions of its own: where operators and aggregates have one it is found here, else by its name.
--
-- A type's own parts, such as a domain's or an array's, count, too, what a domain's conditions call, and how its values
-- are read, written, made a text, told apart and put in order; what a view's query and a table's policies read; and all
-- that a text search configuration is made of. A body that runs a text as SQL is none that looks nothing up.
WITH RECURSIVE azpg_object (of, class, object) AS (
    {objects}
),
azpg_used AS (
    SELECT azpg_object.of, pg_catalog.format('the type %s', pg_catalog.format_type(type.oid, NULL)) AS what,
           type.typowner AS owner, NULL::pg_catalog.oid AS loose, NULL::pg_catalog.text AS path,
           -- An aggregate: EXISTS would be hashed, and all conditions of the database printed.
           coalesce((SELECT pg_catalog.bool_or(pg_catalog.pg_get_constraintdef(rule.oid) OPERATOR(pg_catalog.~) {runs})
                     FROM pg_catalog.pg_constraint AS rule
                     WHERE rule.contypid OPERATOR(pg_catalog.=) type.oid), false) AS runs
    FROM azpg_object JOIN pg_catalog.pg_type AS type ON type.oid OPERATOR(pg_catalog.=) azpg_object.object
    WHERE azpg_object.class OPERATOR(pg_catalog.=) 'pg_catalog.pg_type'::pg_catalog.regclass
    UNION ALL
    SELECT azpg_object.of, pg_catalog.format('the relation %s', class.oid::pg_catalog.regclass),
           class.relowner, NULL, NULL,
           CASE WHEN class.relkind OPERATOR(pg_catalog.=) 'v'
                THEN pg_catalog.pg_get_viewdef(class.oid) OPERATOR(pg_catalog.~) {runs}
                ELSE coalesce((
                    SELECT pg_catalog.bool_or(
                        pg_catalog.pg_get_expr(policy.polqual, class.oid) OPERATOR(pg_catalog.~) {runs})
                    FROM pg_catalog.pg_policy AS policy
                    WHERE policy.polrelid OPERATOR(pg_catalog.=) class.oid), false) END
    FROM azpg_object JOIN pg_catalog.pg_class AS class ON class.oid OPERATOR(pg_catalog.=) azpg_object.object
    WHERE azpg_object.class OPERATOR(pg_catalog.=) 'pg_catalog.pg_class'::pg_catalog.regclass
    UNION ALL
    SELECT azpg_object.of, pg_catalog.format('the operator %s', operator.oid::pg_catalog.regoperator),
           operator.oprowner, NULL, NULL,
           false
    FROM azpg_object
    JOIN pg_catalog.pg_operator AS operator ON operator.oid OPERATOR(pg_catalog.=) azpg_object.object
    WHERE azpg_object.class OPERATOR(pg_catalog.=) 'pg_catalog.pg_operator'::pg_catalog.regclass
    UNION ALL
    SELECT azpg_object.of, pg_catalog.format('the operator class %s.%I',
                             opclass.opcnamespace::pg_catalog.regnamespace, opclass.opcname), opclass.opcowner, NULL, NULL,
           false
    FROM azpg_object JOIN pg_catalog.pg_opclass AS opclass ON opclass.oid OPERATOR(pg_catalog.=) azpg_object.object
    WHERE azpg_object.class OPERATOR(pg_catalog.=) 'pg_catalog.pg_opclass'::pg_catalog.regclass
    UNION ALL
    SELECT azpg_object.of, pg_catalog.format('the collation %s.%I',
                             rule.collnamespace::pg_catalog.regnamespace, rule.collname), rule.collowner, NULL, NULL,
           false
    FROM azpg_object JOIN pg_catalog.pg_collation AS rule ON rule.oid OPERATOR(pg_catalog.=) azpg_object.object
    WHERE azpg_object.class OPERATOR(pg_catalog.=) 'pg_catalog.pg_collation'::pg_catalog.regclass
    UNION ALL
    SELECT azpg_object.of, pg_catalog.format('the text search configuration %s', search.oid::pg_catalog.regconfig),
           search.cfgowner,
           NULL, NULL, false
    FROM azpg_object JOIN pg_catalog.pg_ts_config AS search ON search.oid OPERATOR(pg_catalog.=) azpg_object.object
    WHERE azpg_object.class OPERATOR(pg_catalog.=) 'pg_catalog.pg_ts_config'::pg_catalog.regclass
    UNION ALL
    SELECT azpg_object.of,
           pg_catalog.format('the text search dictionary %s', dictionary.oid::pg_catalog.regdictionary),
           dictionary.dictowner, NULL, NULL, false
    FROM azpg_object
    JOIN pg_catalog.pg_ts_dict AS dictionary ON dictionary.oid OPERATOR(pg_catalog.=) azpg_object.object
    WHERE azpg_object.class OPERATOR(pg_catalog.=) 'pg_catalog.pg_ts_dict'::pg_catalog.regclass
    UNION ALL
    SELECT azpg_object.of, pg_catalog.format('the function %s%s', function.oid::pg_catalog.regprocedure,
                             CASE WHEN language.lanname OPERATOR(pg_catalog.=) 'c' THEN ' in C' END), function.proowner,
           CASE WHEN function.oid OPERATOR(pg_catalog.<) 16384::pg_catalog.oid THEN NULL  -- PostgreSQL's own come first
                WHEN language.lanname OPERATOR(pg_catalog.=) 'internal' THEN NULL
                WHEN language.lanname OPERATOR(pg_catalog.=) 'c' THEN CASE
                    WHEN function.provolatile OPERATOR(pg_catalog.<>) 'i'
                     AND 'pg_catalog.internal'::pg_catalog.regtype::pg_catalog.oid
                         OPERATOR(pg_catalog.<>) ALL (function.proargtypes::pg_catalog.oid[])
                     AND NOT EXISTS (
                         SELECT FROM pg_catalog.pg_depend AS member
                         JOIN pg_catalog.pg_extension AS extension
                           ON extension.oid OPERATOR(pg_catalog.=) member.refobjid
                         WHERE member.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_proc'::pg_catalog.regclass
                           AND member.objid OPERATOR(pg_catalog.=) function.oid
                           AND member.refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_extension'::pg_catalog.regclass
                           AND member.deptype OPERATOR(pg_catalog.=) 'e'
                           AND extension.extname OPERATOR(pg_catalog.=) ANY ({harmless}::pg_catalog.name[]))
                    THEN function.oid END
                WHEN function.prosqlbody IS NULL
                     OR pg_catalog.pg_get_function_sqlbody(function.oid) OPERATOR(pg_catalog.~) {runs}
                THEN function.oid END,
           (SELECT pg_catalog.substr(setting.given, 13)
            FROM pg_catalog.unnest(function.proconfig) AS setting (given)
            WHERE pg_catalog.starts_with(setting.given, 'search_path=')),
           CASE WHEN function.oid OPERATOR(pg_catalog.<) 16384::pg_catalog.oid
                THEN function.proname OPERATOR(pg_catalog.=) ANY ({running}::pg_catalog.name[])
                ELSE pg_catalog.pg_get_function_arguments(function.oid) OPERATOR(pg_catalog.~) {runs} END
    FROM azpg_object
    JOIN pg_catalog.pg_proc AS function ON function.oid OPERATOR(pg_catalog.=) azpg_object.object
    JOIN pg_catalog.pg_language AS language ON language.oid OPERATOR(pg_catalog.=) function.prolang
    WHERE azpg_object.class OPERATOR(pg_catalog.=) 'pg_catalog.pg_proc'::pg_catalog.regclass
)
SELECT azpg_case.of, azpg_case.owner, azpg_case.strict,
       azpg_used.what, role.rolname::pg_catalog.text, pg_catalog.quote_ident(mine.rolname), theirs.fine, azpg_used.path,
       (SELECT function.prosrc FROM pg_catalog.pg_proc AS function
        JOIN pg_catalog.pg_language AS language ON language.oid OPERATOR(pg_catalog.=) function.prolang
        WHERE function.oid OPERATOR(pg_catalog.=) azpg_used.loose
          AND function.prosqlbody IS NULL AND language.lanname OPERATOR(pg_catalog.=) 'sql') AS body,
       azpg_used.runs
FROM ({cases}) AS azpg_case (of, owner, strict)
JOIN azpg_used ON azpg_used.of OPERATOR(pg_catalog.=) azpg_case.of
JOIN pg_catalog.pg_roles AS role ON role.oid OPERATOR(pg_catalog.=) azpg_used.owner
JOIN pg_catalog.pg_roles AS mine ON mine.oid OPERATOR(pg_catalog.=) azpg_case.owner
CROSS JOIN LATERAL (SELECT {own}) AS theirs (fine)
CROSS JOIN LATERAL (
    SELECT pg_catalog.array_agg(coalesce(pg_catalog.replace(part.of[1], '""', '"'), part.of[2])
                                ORDER BY part.number) AS names
    FROM pg_catalog.regexp_matches(azpg_used.path, '"((?:[^"]|"")*)"|([^,\s"]+)', 'g')
         WITH ORDINALITY AS part (of, number)
) AS path
WHERE NOT theirs.fine OR azpg_case.strict AND (azpg_used.runs OR azpg_used.loose IS NOT NULL AND NOT coalesce(
    path.names[pg_catalog.cardinality(path.names)] OPERATOR(pg_catalog.=) 'pg_temp'
    AND NOT EXISTS (
        SELECT FROM pg_catalog.unnest(pg_catalog.trim_array(path.names, 1)) AS wanted (name)
        LEFT JOIN pg_catalog.pg_namespace AS schema
               ON schema.nspname OPERATOR(pg_catalog.=) wanted.name::pg_catalog.name
        WHERE schema.oid IS NULL OR NOT ({safe})), false))
ORDER BY theirs.fine, 4 DESC  -- types before what belongs to them
