/*
 * server.c
 *		The library that makes a PostgreSQL behave like a Flexible Server: its entry
 *		point and its settings.  For shared_preload_libraries only.
 */
#include "postgres.h"

#include <limits.h>

#include "fmgr.h"
#include "miscadmin.h"
#include "utils/guc.h"

#include "azpg_server.h"

#ifdef PG_MODULE_MAGIC_EXT
PG_MODULE_MAGIC_EXT(.name = "azpg_server",.version = "1.0.0");
#else
PG_MODULE_MAGIC;
#endif

extern PGDLLEXPORT void _PG_init(void);

char	   *azure_extensions = NULL;

/* azure_local_ai.so reads these two by name. */
static char *model_host_socket = NULL;
static int	model_host_uid = -1;

void
_PG_init(void)
{
	if (!process_shared_preload_libraries_in_progress)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("azpg_server must be loaded when the server starts"),
				 errhint("Add azpg_server to shared_preload_libraries.")));

	DefineCustomStringVariable("azure.extensions",
							   "Extensions that members of azure_pg_admin may create.",
							   NULL,
							   &azure_extensions,
							   "",
							   PGC_SIGHUP,
							   GUC_LIST_INPUT,
							   NULL, NULL, NULL);
	DefineCustomStringVariable("azpg.model_host_socket",
							   "Path of the model host's Unix socket.",
							   NULL,
							   &model_host_socket,
							   "",
							   PGC_POSTMASTER,
							   GUC_SUPERUSER_ONLY,
							   NULL, NULL, NULL);
	DefineCustomIntVariable("azpg.model_host_uid",
							"User id that the model host may have besides the server's own.",
							"-1 for no other.",
							&model_host_uid,
							-1, -1, INT_MAX,
							PGC_POSTMASTER,
							GUC_SUPERUSER_ONLY,
							NULL, NULL, NULL);

	/* Not "azure": others declare settings under it, or have none declared at all. */
	MarkGUCPrefixReserved("azpg");

	allow_list_init();
	reserved_roles_init();
}
