/*
 * extension_grants.c
 *		What the server admin may do with the parts of an extension that belongs to azuresu.
 *
 * On Azure, members of azure_pg_admin make servers of postgres_fdw and dblink_fdw, and
 * let others do so.
 *
 * The grants are recorded as the extension's own, so that pg_dump leaves them out.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "commands/extension.h"
#include "executor/spi.h"
#include "utils/builtins.h"
#include "utils/guc.h"

#include "azpg_server.h"

/* The statements to run, in a search_path that is ours. */
#define QUERY \
	"SELECT format('GRANT USAGE ON FOREIGN DATA WRAPPER %I TO " ADMIN_ROLE " WITH GRANT OPTION'," \
	" w.fdwname)" \
	" FROM pg_depend AS d JOIN pg_foreign_data_wrapper AS w" \
	" ON d.classid = 'pg_foreign_data_wrapper'::regclass AND d.objid = w.oid" \
	" WHERE d.refclassid = 'pg_extension'::regclass AND d.refobjid = $1 AND d.deptype = 'e'"

static void
run_grants(Oid extension)
{
	Oid			type = OIDOID;
	Datum		value = ObjectIdGetDatum(extension);
	uint64		count;
	char	  **statements;

	/* Not read-only, so that it sees what has just been made. */
	if (SPI_execute_with_args(QUERY, 1, &type, &value, NULL, false, 0) != SPI_OK_SELECT)
		elog(ERROR, "the parts of extension %u cannot be looked up", extension);
	count = SPI_processed;
	statements = palloc(sizeof(char *) * Max(count, 1));
	for (uint64 i = 0; i < count; i++)
		statements[i] = SPI_getvalue(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1);
	for (uint64 i = 0; i < count; i++)
		if (SPI_execute(statements[i], false, 0) != SPI_OK_UTILITY)
			elog(ERROR, "a part of extension %u cannot be granted", extension);
}

void
grant_extension(const char *name)
{
	Oid			extension = get_extension_oid(name, true);
	int			level;

	if (!OidIsValid(extension))
		return;
	level = NewGUCNestLevel();
	(void) set_config_option("search_path", "pg_catalog, pg_temp", PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_SAVE, true, 0, false);
	/* What is done here is not the user's own statement. */
	if (GetConfigOption("pg_stat_statements.track", true, false))
		(void) set_config_option("pg_stat_statements.track", "none", PGC_SUSET, PGC_S_SESSION,
								 GUC_ACTION_SAVE, true, 0, false);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "the parts of extension \"%s\" cannot be looked up", name);
	creating_extension = true;
	CurrentExtensionObject = extension;
	PG_TRY();
	{
		run_grants(extension);
	}
	PG_FINALLY();
	{
		creating_extension = false;
		CurrentExtensionObject = InvalidOid;
	}
	PG_END_TRY();
	SPI_finish();
	AtEOXact_GUC(true, level);
}
