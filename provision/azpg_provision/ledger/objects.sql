-- The objects that {{first}} selects, by a number that several may have, and all that these depend on: the parts of a
-- WITH RECURSIVE azpg_object (of, class, object). What is attached to a relation that is read counts, too, as PostgreSQL
-- computes what is constant there when it plans; and what it may put in the place of an operator.
{first}
UNION
SELECT azpg_object.of, part.class, part.object
FROM azpg_object
CROSS JOIN LATERAL (
    SELECT depend.refclassid, depend.refobjid
    FROM pg_catalog.pg_depend AS depend
    WHERE depend.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_proc'::pg_catalog.regclass
      AND azpg_object.class OPERATOR(pg_catalog.=) depend.classid
      AND depend.objid OPERATOR(pg_catalog.=) azpg_object.object
    UNION ALL
    SELECT part.class, part.object
    FROM pg_catalog.pg_operator AS operator
    CROSS JOIN LATERAL (
        VALUES ('pg_catalog.pg_proc'::pg_catalog.regclass, operator.oprcode::pg_catalog.oid),
               ('pg_catalog.pg_operator'::pg_catalog.regclass, operator.oprnegate),  -- PostgreSQL puts one for the other
               ('pg_catalog.pg_operator'::pg_catalog.regclass, operator.oprcom)
    ) AS part (class, object)
    WHERE azpg_object.class OPERATOR(pg_catalog.=) 'pg_catalog.pg_operator'::pg_catalog.regclass
      AND operator.oid OPERATOR(pg_catalog.=) azpg_object.object
    UNION ALL
    SELECT 'pg_catalog.pg_proc'::pg_catalog.regclass, part.oid
    FROM pg_catalog.pg_aggregate AS aggregate
    CROSS JOIN LATERAL (
        VALUES (aggregate.aggtransfn::pg_catalog.oid), (aggregate.aggfinalfn::pg_catalog.oid),
               (aggregate.aggcombinefn::pg_catalog.oid), (aggregate.aggserialfn::pg_catalog.oid),
               (aggregate.aggdeserialfn::pg_catalog.oid), (aggregate.aggmtransfn::pg_catalog.oid),
               (aggregate.aggminvtransfn::pg_catalog.oid), (aggregate.aggmfinalfn::pg_catalog.oid)
    ) AS part (oid)
    WHERE azpg_object.class OPERATOR(pg_catalog.=) 'pg_catalog.pg_proc'::pg_catalog.regclass
      AND aggregate.aggfnoid::pg_catalog.oid OPERATOR(pg_catalog.=) azpg_object.object
    UNION ALL
    SELECT 'pg_catalog.pg_class'::pg_catalog.regclass, heir.inhrelid
    FROM pg_catalog.pg_inherits AS heir
    WHERE azpg_object.class OPERATOR(pg_catalog.=) 'pg_catalog.pg_class'::pg_catalog.regclass
      AND heir.inhparent OPERATOR(pg_catalog.=) azpg_object.object
    UNION ALL
    SELECT depend.refclassid, depend.refobjid  -- a view's query, a policy, and what is computed when it is planned
    FROM (
        SELECT 'pg_catalog.pg_rewrite'::pg_catalog.regclass AS class, rule.oid FROM pg_catalog.pg_rewrite AS rule
        WHERE rule.ev_class OPERATOR(pg_catalog.=) azpg_object.object
        UNION ALL
        SELECT 'pg_catalog.pg_policy'::pg_catalog.regclass, policy.oid FROM pg_catalog.pg_policy AS policy
        WHERE policy.polrelid OPERATOR(pg_catalog.=) azpg_object.object
        UNION ALL
        SELECT 'pg_catalog.pg_class'::pg_catalog.regclass, index.indexrelid FROM pg_catalog.pg_index AS index
        WHERE index.indrelid OPERATOR(pg_catalog.=) azpg_object.object
        UNION ALL
        SELECT 'pg_catalog.pg_constraint'::pg_catalog.regclass, rule.oid FROM pg_catalog.pg_constraint AS rule
        WHERE rule.conrelid OPERATOR(pg_catalog.=) azpg_object.object
          AND rule.contype OPERATOR(pg_catalog.=) 'c'
        UNION ALL
        SELECT 'pg_catalog.pg_attrdef'::pg_catalog.regclass, stored.oid FROM pg_catalog.pg_attrdef AS stored
        JOIN pg_catalog.pg_attribute AS attribute
          ON attribute.attrelid OPERATOR(pg_catalog.=) stored.adrelid
         AND attribute.attnum OPERATOR(pg_catalog.=) stored.adnum
        WHERE stored.adrelid OPERATOR(pg_catalog.=) azpg_object.object
          AND attribute.attgenerated OPERATOR(pg_catalog.<>) ''
        UNION ALL
        SELECT 'pg_catalog.pg_statistic_ext'::pg_catalog.regclass, statistics.oid
        FROM pg_catalog.pg_statistic_ext AS statistics
        WHERE statistics.stxrelid OPERATOR(pg_catalog.=) azpg_object.object
    ) AS part (class, object)
    JOIN pg_catalog.pg_depend AS depend ON depend.classid OPERATOR(pg_catalog.=) part.class
                                       AND depend.objid OPERATOR(pg_catalog.=) part.object
    WHERE azpg_object.class OPERATOR(pg_catalog.=) 'pg_catalog.pg_class'::pg_catalog.regclass
    UNION ALL
    SELECT found.class, found.object
    FROM pg_catalog.pg_type AS type
    LEFT JOIN pg_catalog.pg_range AS range
           ON type.oid OPERATOR(pg_catalog.=) ANY (ARRAY[range.rngtypid, range.rngmultitypid])
    CROSS JOIN LATERAL (
        SELECT 'pg_catalog.pg_type'::pg_catalog.regclass, part.oid
        FROM (VALUES (type.typelem), (type.typbasetype), (range.rngtypid), (range.rngsubtype)) AS part (oid)
        UNION ALL
        SELECT 'pg_catalog.pg_proc'::pg_catalog.regclass, part.oid
        FROM (VALUES (type.typinput::pg_catalog.oid), (type.typoutput::pg_catalog.oid),
                     (type.typreceive::pg_catalog.oid), (type.typsend::pg_catalog.oid),
                     (type.typmodin::pg_catalog.oid), (type.typmodout::pg_catalog.oid),
                     (type.typanalyze::pg_catalog.oid), (type.typsubscript::pg_catalog.oid),
                     (range.rngcanonical::pg_catalog.oid), (range.rngsubdiff::pg_catalog.oid)) AS part (oid)
        UNION ALL
        SELECT 'pg_catalog.pg_collation'::pg_catalog.regclass, part.oid
        FROM (VALUES (type.typcollation), (range.rngcollation)) AS part (oid)
        UNION ALL
        SELECT 'pg_catalog.pg_opclass'::pg_catalog.regclass, range.rngsubopc
        UNION ALL
        SELECT 'pg_catalog.pg_opclass'::pg_catalog.regclass, opclass.oid  -- also of what it is cast to for nothing
        FROM pg_catalog.pg_opclass AS opclass
        JOIN pg_catalog.pg_am AS method ON method.oid OPERATOR(pg_catalog.=) opclass.opcmethod
        WHERE opclass.opcdefault
          AND method.amname OPERATOR(pg_catalog.=) ANY ('{{btree,hash}}'::pg_catalog.name[])
          AND opclass.opcintype OPERATOR(pg_catalog.=) ANY (ARRAY(
              SELECT type.oid
              UNION ALL
              SELECT freely.casttarget FROM pg_catalog.pg_cast AS freely
              WHERE freely.castsource OPERATOR(pg_catalog.=) type.oid
                AND freely.castmethod OPERATOR(pg_catalog.=) 'b'))
        UNION ALL
        SELECT 'pg_catalog.pg_proc'::pg_catalog.regclass, made.castfunc::pg_catalog.oid  -- by which it is carried
        FROM pg_catalog.pg_cast AS made
        WHERE made.castsource OPERATOR(pg_catalog.=) type.oid
          AND made.casttarget OPERATOR(pg_catalog.=) 'pg_catalog.text'::pg_catalog.regtype
        UNION ALL
        SELECT 'pg_catalog.pg_type'::pg_catalog.regclass, attribute.atttypid
        FROM pg_catalog.pg_attribute AS attribute
        WHERE attribute.attrelid OPERATOR(pg_catalog.=) type.typrelid
          AND type.typrelid OPERATOR(pg_catalog.<>) 0
          AND attribute.attnum OPERATOR(pg_catalog.>) 0 AND NOT attribute.attisdropped
        UNION ALL
        SELECT depend.refclassid, depend.refobjid
        FROM pg_catalog.pg_constraint AS rule
        JOIN pg_catalog.pg_depend AS depend
          ON depend.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_constraint'::pg_catalog.regclass
         AND depend.objid OPERATOR(pg_catalog.=) rule.oid
        WHERE rule.contypid OPERATOR(pg_catalog.=) type.oid
    ) AS found (class, object)
    WHERE azpg_object.class OPERATOR(pg_catalog.=) 'pg_catalog.pg_type'::pg_catalog.regclass
      AND type.oid OPERATOR(pg_catalog.=) azpg_object.object
    UNION ALL
    SELECT found.class, found.object
    FROM pg_catalog.pg_opclass AS opclass
    CROSS JOIN LATERAL (
        SELECT 'pg_catalog.pg_operator'::pg_catalog.regclass, member.amopopr
        FROM pg_catalog.pg_amop AS member
        WHERE member.amopfamily OPERATOR(pg_catalog.=) opclass.opcfamily
          AND member.amoplefttype OPERATOR(pg_catalog.=) opclass.opcintype
          AND member.amoprighttype OPERATOR(pg_catalog.=) opclass.opcintype
        UNION ALL
        SELECT 'pg_catalog.pg_proc'::pg_catalog.regclass, member.amproc::pg_catalog.oid
        FROM pg_catalog.pg_amproc AS member
        WHERE member.amprocfamily OPERATOR(pg_catalog.=) opclass.opcfamily
          AND member.amproclefttype OPERATOR(pg_catalog.=) opclass.opcintype
          AND member.amprocrighttype OPERATOR(pg_catalog.=) opclass.opcintype
    ) AS found (class, object)
    WHERE azpg_object.class OPERATOR(pg_catalog.=) 'pg_catalog.pg_opclass'::pg_catalog.regclass
      AND opclass.oid OPERATOR(pg_catalog.=) azpg_object.object
    UNION ALL
    SELECT found.class, found.object
    FROM pg_catalog.pg_ts_config AS search
    JOIN pg_catalog.pg_ts_parser AS parser ON parser.oid OPERATOR(pg_catalog.=) search.cfgparser
    CROSS JOIN LATERAL (
        SELECT 'pg_catalog.pg_proc'::pg_catalog.regclass, part.oid
        FROM (VALUES (parser.prsstart::pg_catalog.oid), (parser.prstoken::pg_catalog.oid),
                     (parser.prsend::pg_catalog.oid), (parser.prsheadline::pg_catalog.oid),
                     (parser.prslextype::pg_catalog.oid)) AS part (oid)
        UNION ALL
        SELECT 'pg_catalog.pg_ts_dict'::pg_catalog.regclass, part.mapdict
        FROM pg_catalog.pg_ts_config_map AS part WHERE part.mapcfg OPERATOR(pg_catalog.=) search.oid
    ) AS found (class, object)
    WHERE azpg_object.class OPERATOR(pg_catalog.=) 'pg_catalog.pg_ts_config'::pg_catalog.regclass
      AND search.oid OPERATOR(pg_catalog.=) azpg_object.object
    UNION ALL
    SELECT 'pg_catalog.pg_proc'::pg_catalog.regclass, part.oid
    FROM pg_catalog.pg_ts_dict AS dictionary
    JOIN pg_catalog.pg_ts_template AS template ON template.oid OPERATOR(pg_catalog.=) dictionary.dicttemplate
    CROSS JOIN LATERAL (VALUES (template.tmplinit::pg_catalog.oid), (template.tmpllexize::pg_catalog.oid))
        AS part (oid)
    WHERE azpg_object.class OPERATOR(pg_catalog.=) 'pg_catalog.pg_ts_dict'::pg_catalog.regclass
      AND dictionary.oid OPERATOR(pg_catalog.=) azpg_object.object
) AS part (class, object)
WHERE part.object OPERATOR(pg_catalog.<>) 0
