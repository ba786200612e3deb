select a.attrelid, a.attname from pg_catalog.pg_attribute a
where a.attrelid = any ($1) and not a.attisdropped and has_column_privilege(a.attrelid, a.attnum, 'select')
