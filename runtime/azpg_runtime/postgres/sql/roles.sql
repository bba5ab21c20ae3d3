-- The roles and ownership of a Flexible Server, as azuresu, safe to run again.
DO $$
DECLARE
    missing text;
BEGIN
    FOREACH missing IN ARRAY ARRAY['azure_pg_admin', 'azure_local_ai_setting_manager', 'azure_ai_settings_manager']
    LOOP
        IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = missing) THEN
            EXECUTE pg_catalog.format('CREATE ROLE %I NOLOGIN', missing);
        END IF;
    END LOOP;
END
$$;

GRANT azure_local_ai_setting_manager, azure_ai_settings_manager TO azure_pg_admin WITH ADMIN OPTION;
-- What two public dumps of the roles of servers with PostgreSQL 16, of May and November 2024, show.
GRANT pg_monitor, pg_read_all_settings, pg_read_all_stats, pg_stat_scan_tables, pg_read_all_data, pg_signal_backend,
    pg_checkpoint TO azure_pg_admin WITH ADMIN OPTION;
DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = 'pg_create_subscription') THEN  -- from 16 on
        GRANT pg_create_subscription TO azure_pg_admin WITH ADMIN OPTION;
    END IF;
END
$$;
GRANT SET ON PARAMETER session_replication_role TO azure_pg_admin;

-- Once: afterwards these databases are the admin's to rename, drop or give away.
DO $$
DECLARE
    initial text;
BEGIN
    FOR initial IN
        SELECT datname FROM pg_catalog.pg_database
        WHERE datname IN ('postgres', 'template1') AND datdba = 'azuresu'::pg_catalog.regrole
    LOOP
        EXECUTE pg_catalog.format('ALTER DATABASE %I OWNER TO azure_pg_admin', initial);
    END LOOP;
END
$$;
