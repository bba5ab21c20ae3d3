-- The wanted tables that there are, with their columns and the keys that could tell one row from another.
SELECT schema.nspname::text,
       class.relname::text,
       class.relkind::text,
       class.relispartition,
       class.relpersistence::text,
       greatest(class.reltuples, 0)::bigint AS rows,
       pg_catalog.pg_table_size(class.oid) AS bytes,
       pg_catalog.pg_has_role(class.relowner, 'USAGE') AS owner,
       EXISTS (SELECT FROM pg_catalog.pg_inherits AS heir WHERE heir.inhparent = class.oid) AS inherited,
       EXISTS (SELECT FROM pg_catalog.pg_inherits AS heir WHERE heir.inhrelid = class.oid) AS inherits,
       pg_catalog.row_security_active(class.oid) AS hides,
       -- Row triggers BEFORE INSERT or UPDATE that are fired after azpg's own (azpg_provision.sync.triggers), by name.
       (SELECT coalesce(jsonb_agg(trigger.tgname ORDER BY trigger.tgname), '[]')
        FROM pg_catalog.pg_trigger AS trigger JOIN pg_catalog.pg_proc AS function ON function.oid = trigger.tgfoid
        WHERE trigger.tgrelid = class.oid AND NOT trigger.tgisinternal AND trigger.tgenabled IN ('O', 'A')
              AND trigger.tgtype & 3 = 3 AND trigger.tgtype & 20 <> 0 AND trigger.tgname > 'zzz_azpg_'
              AND function.pronamespace IS DISTINCT FROM pg_catalog.to_regnamespace('azpg')) AS later,
       -- Who may put names where those of a text and a key are looked up, but for the admins and the table's owner.
       (SELECT coalesce(jsonb_agg(jsonb_build_array(place.nspname, coalesce(role.rolname, 'PUBLIC'))
                                  ORDER BY place.nspname, role.rolname), '[]')
        FROM pg_catalog.pg_namespace AS place
        CROSS JOIN pg_catalog.aclexplode(coalesce(place.nspacl, pg_catalog.acldefault('n', place.nspowner))) AS acl
        JOIN pg_catalog.pg_database AS database ON database.datname = pg_catalog.current_database()
        LEFT JOIN pg_catalog.pg_roles AS role ON role.oid = acl.grantee
        WHERE place.nspname IN (schema.nspname, 'public') AND acl.privilege_type = 'CREATE'
              AND (role.oid IS NULL OR NOT (
                  role.rolsuper OR role.rolname IN (current_user, 'azure_pg_admin', 'pg_database_owner')
                  OR role.oid IN (class.relowner, database.datdba)))) AS creators,
       (SELECT coalesce(jsonb_agg(jsonb_build_array(
                   attribute.attname, pg_catalog.format_type(attribute.atttypid, attribute.atttypmod),
                   attribute.attnotnull, attribute.attgenerated <> '',
                   CASE WHEN attribute.attgenerated <> '' THEN pg_catalog.pg_get_expr(def.adbin, def.adrelid) END
               ) ORDER BY attribute.attnum), '[]')
        FROM pg_catalog.pg_attribute AS attribute
        LEFT JOIN pg_catalog.pg_attrdef AS def ON def.adrelid = class.oid AND def.adnum = attribute.attnum
        WHERE attribute.attrelid = class.oid AND attribute.attnum > 0 AND NOT attribute.attisdropped) AS columns,
       (SELECT coalesce(jsonb_agg(jsonb_build_array(index.indisprimary, (
                   SELECT jsonb_agg(attribute.attname ORDER BY key.position)
                   FROM unnest(index.indkey[0:index.indnkeyatts - 1]) WITH ORDINALITY AS key (number, position)
                   JOIN pg_catalog.pg_attribute AS attribute
                        ON attribute.attrelid = class.oid AND attribute.attnum = key.number
               )) ORDER BY index.indisprimary DESC, index.indexrelid), '[]')
        FROM pg_catalog.pg_index AS index
        WHERE index.indrelid = class.oid AND index.indisunique AND index.indisvalid AND index.indimmediate
              AND index.indpred IS NULL AND index.indexprs IS NULL
              AND NOT EXISTS (SELECT FROM pg_catalog.pg_attribute AS attribute
                              WHERE attribute.attrelid = class.oid
                                    AND attribute.attnum = ANY (index.indkey[0:index.indnkeyatts - 1])
                                    AND NOT attribute.attnotnull)) AS keys
FROM unnest(%(schemas)s::text[], %(tables)s::text[]) AS wanted (schema, name)
JOIN pg_catalog.pg_namespace AS schema ON schema.nspname = wanted.schema
JOIN pg_catalog.pg_class AS class ON class.relnamespace = schema.oid AND class.relname = wanted.name
WHERE class.relkind IN ('r', 'p', 'v', 'm', 'f')
