/*
 * decoding_plugin.c
 *		Stands in for logical decoding plug-ins that Azure has and this server lacks:
 *		what is looked for by their names is a link to this library.
 */
#include "postgres.h"

#include "replication/output_plugin.h"
#include "replication/slot.h"
#include "utils/guc.h"

#include "azpg_server.h"

/* Of minor releases since 2026: which plug-ins others than superusers may use. */
#define TRUSTED "output_plugin_libraries"

extern PGDLLEXPORT void _PG_output_plugin_init(OutputPluginCallbacks *callbacks);

void
_PG_output_plugin_init(OutputPluginCallbacks *callbacks)
{
	const char *plugin = MyReplicationSlot ? NameStr(MyReplicationSlot->data.plugin) : "";

	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("this local server does not have the logical decoding plug-in \"%s\"", plugin),
			 errhint("\"pgoutput\" is there, and \"azpg up NAME --pg-config PATH\" makes a server of a "
					 "PostgreSQL that has others.")));
}

/* Azure's list has wal2json, so it is the default here too; what is configured outranks it. */
void
decoding_plugin_init(void)
{
	const char *trusted = GetConfigOption(TRUSTED, true, false);

	if (trusted)
		SetConfigOption(TRUSTED, psprintf("%s, wal2json", trusted), PGC_POSTMASTER, PGC_S_DYNAMIC_DEFAULT);
}
