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

/*
 * GUC_SUPERUSER_ONLY leaves it to pg_read_all_settings, too, which Azure gives to the server
 * admin; and pg_settings shows what RESET would bring back without asking here.
 */
static const char *
show_model_host_socket(void)
{
	return superuser() ? model_host_socket : "";
}

void
_PG_init(void)
{
	if (!process_shared_preload_libraries_in_progress)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("azpg_server must be loaded when the server starts"),
				 errhint("Add azpg_server to shared_preload_libraries.")));

	DefineCustomStringVariable("azure.extensions",
							   "Specifies which extensions are allowed to be created in the server.",
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
							   GUC_SUPERUSER_ONLY | GUC_NO_SHOW_ALL | GUC_NOT_IN_SAMPLE,
							   NULL, NULL, show_model_host_socket);
	DefineCustomIntVariable("azpg.model_host_uid",
							"User id that the model host may have besides root's and the server's own.",
							"-1 for no other.",
							&model_host_uid,
							-1, -1, INT_MAX,
							PGC_POSTMASTER,
							GUC_SUPERUSER_ONLY,
							NULL, NULL, NULL);

	/* Not "azure": others declare settings under it, or have none declared at all. */
	MarkGUCPrefixReserved("azpg");

	libraries_init();
	allow_list_init();
	reserved_roles_init();
	peer_init();
	locales_init();
	decoding_plugin_init();
}
