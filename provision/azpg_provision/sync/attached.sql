-- What is attached to tables, and runs with their owners' rights when azpg reads or writes rows: the table's number and
-- owner, what it is, how to be rid of it, and each object that it calls or is made of, unless nobody but a superuser or
-- the table's owner can have made that, of nothing else. Neither defaults, as azpg inserts no row, nor policies, which
-- are not for the owner.
--
-- The function of a trigger does not count if its WHEN asks azpg.in_hand first: it is called only while it has the
-- rights of the table's owner. What names columns of OLD or NEW is none of those, and cannot be printed.
SELECT wanted.number, class.relowner, azpg_used.what, azpg_used.cure, azpg_used.class, azpg_used.object
FROM ({tables}) AS wanted (number, relation, keys, written, strict)
JOIN pg_catalog.pg_class AS class ON class.oid OPERATOR(pg_catalog.=) pg_catalog.to_regclass(wanted.relation)
CROSS JOIN LATERAL (
    SELECT part.what, part.cure, depend.refclassid, depend.refobjid
    FROM (
        SELECT 'pg_catalog.pg_trigger'::pg_catalog.regclass, trigger.oid,
               pg_catalog.format('the trigger %I', trigger.tgname),
               pg_catalog.format('DROP TRIGGER %I ON %s', trigger.tgname, wanted.relation),
               CASE WHEN condition.text OPERATOR(pg_catalog.=) ANY (ARRAY[guard.loud, guard.quiet])
                      OR pg_catalog.starts_with(condition.text, pg_catalog.concat('(', guard.loud, ' AND '))
                      OR pg_catalog.starts_with(condition.text, pg_catalog.concat('(', guard.quiet, ' AND '))
                    THEN trigger.tgfoid END
        FROM pg_catalog.pg_trigger AS trigger
        CROSS JOIN LATERAL (
            SELECT CASE WHEN trigger.tgqual IS NOT NULL
                         AND pg_catalog.strpos(trigger.tgqual::pg_catalog.text, '{{VAR ') OPERATOR(pg_catalog.=) 0
                        THEN pg_catalog.pg_get_expr(trigger.tgqual, trigger.tgrelid) END
        ) AS condition (text)
        CROSS JOIN LATERAL (
            SELECT pg_catalog.concat(
                'azpg.in_hand(''',
                pg_catalog.replace(trigger.tgrelid::pg_catalog.regclass::pg_catalog.text, '''', ''''''),
                '''::regclass, ''',
                pg_catalog.replace(trigger.tgfoid::pg_catalog.regprocedure::pg_catalog.text, '''', ''''''),
                '''::regprocedure, ')
        ) AS asked (starting)
        CROSS JOIN LATERAL (
            SELECT pg_catalog.concat(asked.starting, 'false)'), pg_catalog.concat(asked.starting, 'true)')
        ) AS guard (loud, quiet)
        WHERE trigger.tgrelid OPERATOR(pg_catalog.=) class.oid
          AND NOT trigger.tgisinternal AND trigger.tgenabled OPERATOR(pg_catalog.<>) 'D'
        UNION ALL
        SELECT 'pg_catalog.pg_class'::pg_catalog.regclass, index.indexrelid,
               pg_catalog.format('the index %I', named.relname),
               pg_catalog.format('DROP INDEX %s', index.indexrelid::pg_catalog.regclass), NULL
        FROM pg_catalog.pg_index AS index
        JOIN pg_catalog.pg_class AS named ON named.oid OPERATOR(pg_catalog.=) index.indexrelid
        WHERE index.indrelid OPERATOR(pg_catalog.=) class.oid
        UNION ALL
        SELECT 'pg_catalog.pg_constraint'::pg_catalog.regclass, rule.oid,
               pg_catalog.format('the constraint %I', rule.conname),
               pg_catalog.format('ALTER TABLE %s DROP CONSTRAINT %I', wanted.relation, rule.conname), NULL
        FROM pg_catalog.pg_constraint AS rule
        WHERE rule.conrelid OPERATOR(pg_catalog.=) class.oid
          AND rule.contype OPERATOR(pg_catalog.=) ANY ('{{c,x}}'::pg_catalog."char"[])
        UNION ALL
        SELECT 'pg_catalog.pg_attrdef'::pg_catalog.regclass, stored.oid,
               pg_catalog.format('the generated column %I', attribute.attname),
               pg_catalog.format('ALTER TABLE %s DROP COLUMN %I', wanted.relation, attribute.attname), NULL
        FROM pg_catalog.pg_attrdef AS stored
        JOIN pg_catalog.pg_attribute AS attribute ON attribute.attrelid OPERATOR(pg_catalog.=) stored.adrelid
                                                 AND attribute.attnum OPERATOR(pg_catalog.=) stored.adnum
        WHERE stored.adrelid OPERATOR(pg_catalog.=) class.oid AND attribute.attgenerated OPERATOR(pg_catalog.<>) ''
        UNION ALL
        SELECT 'pg_catalog.pg_statistic_ext'::pg_catalog.regclass, statistics.oid,
               pg_catalog.format('the statistics %I', statistics.stxname),
               pg_catalog.format('DROP STATISTICS %s.%I',
                                 statistics.stxnamespace::pg_catalog.regnamespace, statistics.stxname), NULL
        FROM pg_catalog.pg_statistic_ext AS statistics
        WHERE statistics.stxrelid OPERATOR(pg_catalog.=) class.oid
        UNION ALL
        SELECT 'pg_catalog.pg_rewrite'::pg_catalog.regclass, rule.oid,
               pg_catalog.format('the rule %I', rule.rulename),
               pg_catalog.format('DROP RULE %I ON %s', rule.rulename, wanted.relation), NULL
        FROM pg_catalog.pg_rewrite AS rule
        WHERE rule.ev_class OPERATOR(pg_catalog.=) class.oid AND class.relkind OPERATOR(pg_catalog.=) 'r'
    ) AS part (class, object, what, cure, guarded)
    JOIN pg_catalog.pg_depend AS depend ON depend.classid OPERATOR(pg_catalog.=) part.class
                                       AND depend.objid OPERATOR(pg_catalog.=) part.object
    WHERE (depend.refclassid OPERATOR(pg_catalog.<>) 'pg_catalog.pg_class'::pg_catalog.regclass
           OR part.class OPERATOR(pg_catalog.=) 'pg_catalog.pg_rewrite'::pg_catalog.regclass
              AND depend.refobjid OPERATOR(pg_catalog.<>) class.oid)
      AND (part.guarded IS NULL
           OR depend.refclassid OPERATOR(pg_catalog.<>) 'pg_catalog.pg_proc'::pg_catalog.regclass
           OR depend.refobjid OPERATOR(pg_catalog.<>) part.guarded)
    UNION ALL
    -- How far two ranges are apart; a domain may be one over a range.
    SELECT pg_catalog.format('the index %I', named.relname),
           pg_catalog.format('DROP INDEX %s', index.indexrelid::pg_catalog.regclass), part.class, part.object
    FROM pg_catalog.pg_index AS index
    JOIN pg_catalog.pg_class AS named ON named.oid OPERATOR(pg_catalog.=) index.indexrelid
    JOIN pg_catalog.pg_am AS method ON method.oid OPERATOR(pg_catalog.=) named.relam
    JOIN pg_catalog.pg_attribute AS attribute ON attribute.attrelid OPERATOR(pg_catalog.=) class.oid
                                             AND attribute.attnum OPERATOR(pg_catalog.=) ANY (index.indkey)
    JOIN pg_catalog.pg_type AS type ON type.oid OPERATOR(pg_catalog.=) attribute.atttypid
    LEFT JOIN pg_catalog.pg_range AS range
           ON type.oid OPERATOR(pg_catalog.=) ANY (ARRAY[range.rngtypid, range.rngmultitypid])
    CROSS JOIN LATERAL (
        VALUES ('pg_catalog.pg_proc'::pg_catalog.regclass, range.rngsubdiff::pg_catalog.oid),
               ('pg_catalog.pg_type'::pg_catalog.regclass,
                CASE WHEN type.typtype OPERATOR(pg_catalog.=) 'd' THEN type.oid END)
    ) AS part (class, object)
    WHERE index.indrelid OPERATOR(pg_catalog.=) class.oid AND method.amname OPERATOR(pg_catalog.=) 'gist'
      AND part.object OPERATOR(pg_catalog.<>) 0::pg_catalog.oid
    UNION ALL
    -- What is written, or hashed, becomes a value of its column's type, or an array.
    SELECT pg_catalog.format('the column %I', attribute.attname),
           pg_catalog.format('ALTER TABLE %s DROP COLUMN %I', wanted.relation, attribute.attname),
           part.class, part.object
    FROM pg_catalog.pg_attribute AS attribute
    CROSS JOIN LATERAL (
        SELECT 'pg_catalog.pg_type'::pg_catalog.regclass, attribute.atttypid
        UNION ALL
        SELECT 'pg_catalog.pg_proc'::pg_catalog.regclass, made.castfunc::pg_catalog.oid
        FROM pg_catalog.pg_cast AS made
        WHERE made.castfunc OPERATOR(pg_catalog.<>) 0::pg_catalog.oid
          AND (made.castsource OPERATOR(pg_catalog.=) attribute.atttypid
               AND made.casttarget OPERATOR(pg_catalog.=) 'pg_catalog.float4[]'::pg_catalog.regtype
               OR made.casttarget OPERATOR(pg_catalog.=) attribute.atttypid
               AND made.castsource OPERATOR(pg_catalog.=) 'pg_catalog.float4[]'::pg_catalog.regtype)
    ) AS part (class, object)
    WHERE attribute.attrelid OPERATOR(pg_catalog.=) class.oid AND NOT attribute.attisdropped
      AND attribute.attname OPERATOR(pg_catalog.=) ANY (wanted.written)
    UNION ALL
    SELECT pg_catalog.format('the table %s, which inherits from it,', heir.inhrelid::pg_catalog.regclass),
           pg_catalog.format('ALTER TABLE %s NO INHERIT %s', heir.inhrelid::pg_catalog.regclass, wanted.relation),
           'pg_catalog.pg_class'::pg_catalog.regclass, heir.inhrelid
    FROM pg_catalog.pg_inherits AS heir
    WHERE class.relhassubclass AND heir.inhparent OPERATOR(pg_catalog.=) class.oid
) AS azpg_used (what, cure, class, object)
LEFT JOIN pg_catalog.pg_proc AS function
       ON azpg_used.class OPERATOR(pg_catalog.=) 'pg_catalog.pg_proc'::pg_catalog.regclass
      AND function.oid OPERATOR(pg_catalog.=) azpg_used.object
LEFT JOIN pg_catalog.pg_type AS type
       ON azpg_used.class OPERATOR(pg_catalog.=) 'pg_catalog.pg_type'::pg_catalog.regclass
      AND type.oid OPERATOR(pg_catalog.=) azpg_used.object
LEFT JOIN pg_catalog.pg_opclass AS opclass
       ON azpg_used.class OPERATOR(pg_catalog.=) 'pg_catalog.pg_opclass'::pg_catalog.regclass
      AND opclass.oid OPERATOR(pg_catalog.=) azpg_used.object
LEFT JOIN pg_catalog.pg_roles AS role
       ON role.oid OPERATOR(pg_catalog.=) coalesce(function.proowner, type.typowner, opclass.opcowner)
LEFT JOIN pg_catalog.pg_namespace AS own ON own.oid OPERATOR(pg_catalog.=) function.pronamespace
WHERE azpg_used.class OPERATOR(pg_catalog.=) ANY (
      '{{pg_catalog.pg_class,pg_catalog.pg_opclass,pg_catalog.pg_operator,pg_catalog.pg_proc,pg_catalog.pg_type}}'
      ::pg_catalog.regclass[])
  AND NOT coalesce(CASE
      WHEN function.oid IS NOT NULL THEN function.prosqlbody IS NULL AND (
          role.rolsuper
          OR function.proowner OPERATOR(pg_catalog.=) class.relowner
             AND function.prorettype OPERATOR(pg_catalog.=) 'pg_catalog.trigger'::pg_catalog.regtype
          OR own.nspname OPERATOR(pg_catalog.=) 'azpg' AND function.proowner OPERATOR(pg_catalog.=) own.nspowner)
      -- No function of anybody's makes what an enum is.
      WHEN type.oid IS NOT NULL THEN type.typtype OPERATOR(pg_catalog.=) 'e'
                                  OR type.typtype OPERATOR(pg_catalog.=) 'b' AND role.rolsuper
      WHEN opclass.oid IS NOT NULL THEN role.rolsuper AND EXISTS (
          SELECT FROM pg_catalog.pg_depend AS depend
          WHERE depend.classid OPERATOR(pg_catalog.=) azpg_used.class
            AND depend.objid OPERATOR(pg_catalog.=) azpg_used.object
            AND depend.deptype OPERATOR(pg_catalog.=) 'e')
      END, false)
