/*
 * control.c
 *		What the server's control files say of an extension; see control.h.
 *
 * PostgreSQL keeps the reader of these files to itself, except in two views.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"

#include "control.h"

/* Operators are named in full, because anybody may make others that would be taken. */
#define QUERY \
	"SELECT e.default_version, v.schema" \
	" FROM pg_catalog.pg_available_extensions() AS e" \
	" LEFT JOIN pg_catalog.pg_available_extension_versions() AS v" \
	" ON v.name OPERATOR(pg_catalog.=) e.name" \
	" AND v.version OPERATOR(pg_catalog.=) coalesce($2, e.default_version)" \
	" WHERE e.name OPERATOR(pg_catalog.=) $1"

const ExtensionControl *
find_control(const char *extension, const char *version)
{
	Oid			types[] = {NAMEOID, TEXTOID};
	Datum		values[] = {DirectFunctionCall1(namein, CStringGetDatum(extension)), (Datum) 0};
	const char	nulls[] = {' ', version ? ' ' : 'n', '\0'};
	ExtensionControl *control = NULL;
	MemoryContext caller = CurrentMemoryContext;

	if (version)
		values[1] = CStringGetTextDatum(version);

	if (SPI_connect() != SPI_OK_CONNECT ||
		SPI_execute_with_args(QUERY, lengthof(types), types, values, nulls, true, 1) != SPI_OK_SELECT)
		elog(ERROR, "the control file of extension \"%s\" cannot be looked up", extension);
	if (SPI_processed > 0)
	{
		HeapTuple	row = SPI_tuptable->vals[0];
		char	   *default_version = SPI_getvalue(row, SPI_tuptable->tupdesc, 1);
		char	   *schema = SPI_getvalue(row, SPI_tuptable->tupdesc, 2);

		control = MemoryContextAllocZero(caller, sizeof(ExtensionControl));
		if (default_version)
			control->default_version = MemoryContextStrdup(caller, default_version);
		if (schema)
			control->schema = MemoryContextStrdup(caller, schema);
	}
	SPI_finish();
	return control;
}
