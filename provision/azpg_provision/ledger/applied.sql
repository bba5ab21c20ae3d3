SELECT pg_catalog.encode(pg_catalog.sha256(pg_catalog.convert_to(pg_catalog.concat_ws(' ',
    pg_catalog.quote_literal(schema.nspname::pg_catalog.text),
    CASE WHEN pg_catalog.pg_get_userbyid(schema.nspowner) OPERATOR(pg_catalog.=) 'pg_database_owner'
         THEN database.datdba ELSE schema.nspowner END,
    pg_catalog.quote_literal(class.relname::pg_catalog.text),
    class.relowner,
    (SELECT pg_catalog.string_agg(pg_catalog.concat_ws(' ',
                pg_catalog.quote_literal(attribute.attname::pg_catalog.text),
                pg_catalog.quote_literal(home.nspname::pg_catalog.text),
                pg_catalog.quote_literal(type.typname::pg_catalog.text),
                type.typowner),
                ' ' ORDER BY attribute.attname COLLATE pg_catalog."C")
     FROM pg_catalog.pg_attribute AS attribute
     JOIN pg_catalog.pg_type AS type ON type.oid OPERATOR(pg_catalog.=) attribute.atttypid
     JOIN pg_catalog.pg_namespace AS home ON home.oid OPERATOR(pg_catalog.=) type.typnamespace
     WHERE attribute.attrelid OPERATOR(pg_catalog.=) class.oid
       AND attribute.attname OPERATOR(pg_catalog.=) ANY ({reads}) AND NOT attribute.attisdropped
       AND home.nspname OPERATOR(pg_catalog.<>) 'pg_catalog'
       AND NOT (EXISTS (SELECT FROM pg_catalog.pg_depend AS part
                       WHERE part.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_type'::pg_catalog.regclass
                         AND part.objid OPERATOR(pg_catalog.=) type.oid
                         AND part.deptype OPERATOR(pg_catalog.=) 'e')
                -- Whoever owns an extension can make others' types a part of it.
                AND EXISTS (SELECT FROM pg_catalog.pg_roles AS role
                            WHERE role.oid OPERATOR(pg_catalog.=) type.typowner AND role.rolsuper)))
), 'UTF8')), 'hex')
FROM pg_catalog.pg_class AS class
JOIN pg_catalog.pg_namespace AS schema ON schema.oid OPERATOR(pg_catalog.=) class.relnamespace
JOIN pg_catalog.pg_database AS database
  ON database.datname OPERATOR(pg_catalog.=) pg_catalog.current_database()
WHERE class.oid OPERATOR(pg_catalog.=) {relation}
