/*
 * placement.c
 *		Where CREATE EXTENSION may put an extension when it runs as the superuser.
 *
 * PostgreSQL itself would look only at the rights of the superuser there, and at the
 * superuser's search_path.  The schema is the user's choice, so the user must be
 * allowed to create in it.
 */
#include "postgres.h"

#include "catalog/namespace.h"
#include "catalog/pg_namespace.h"
#include "catalog/pg_type.h"
#include "commands/defrem.h"
#include "commands/extension.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

#include "azpg_server.h"

/* What the control files say; operators are named in full, because anybody may make others. */
#define CONTROL_QUERY \
	"SELECT v.schema IS NOT NULL" \
	" FROM pg_catalog.pg_available_extensions() AS e" \
	" LEFT JOIN pg_catalog.pg_available_extension_versions() AS v" \
	" ON v.name OPERATOR(pg_catalog.=) e.name" \
	" AND v.version OPERATOR(pg_catalog.=) coalesce($2, e.default_version)" \
	" WHERE e.name OPERATOR(pg_catalog.=) $1"

static DefElem *
find_option(const CreateExtensionStmt *statement, const char *name)
{
	ListCell   *cell;

	foreach(cell, statement->options)
	{
		DefElem    *option = lfirst_node(DefElem, cell);

		if (strcmp(option->defname, name) == 0)
			return option;
	}
	return NULL;
}

/* Whether the extension's author has fixed its schema, so that it is nobody's choice. */
static bool
has_own_schema(const CreateExtensionStmt *statement)
{
	DefElem    *version = find_option(statement, "new_version");
	Oid			types[] = {NAMEOID, TEXTOID};
	char		nulls[] = {' ', version ? ' ' : 'n'};
	Datum		values[2];
	bool		isnull;
	bool		result;

	values[0] = DirectFunctionCall1(namein, CStringGetDatum(statement->extname));
	values[1] = version ? CStringGetTextDatum(defGetString(version)) : (Datum) 0;

	SPI_connect();
	if (SPI_execute_with_args(CONTROL_QUERY, 2, types, values, nulls, true, 1) != SPI_OK_SELECT)
		elog(ERROR, "the control file of extension \"%s\" cannot be looked at", statement->extname);
	result = SPI_processed > 0 &&
		DatumGetBool(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
	SPI_finish();
	return result;
}

static void
require_create(Oid schema)
{
	AclResult	result;

#if PG_VERSION_NUM >= 160000
	result = object_aclcheck(NamespaceRelationId, schema, GetUserId(), ACL_CREATE);
#else
	result = pg_namespace_aclcheck(schema, GetUserId(), ACL_CREATE);
#endif
	if (result != ACLCHECK_OK)
		aclcheck_error(result, OBJECT_SCHEMA, get_namespace_name(schema));
}

/* The schema that the user's search_path begins with. */
static Oid
first_schema(void)
{
	List	   *path = fetch_search_path(false);

	if (path == NIL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_SCHEMA),
				 errmsg("no schema has been selected to create in")));
	return linitial_oid(path);
}

/*
 * Checks a CREATE EXTENSION before it runs as the superuser.  Returns the statement to
 * run: one in which the schema is named, if it follows from the user's search_path.
 */
PlannedStmt *
place_extension(PlannedStmt *pstmt)
{
	CreateExtensionStmt *statement = castNode(CreateExtensionStmt, pstmt->utilityStmt);
	DefElem    *named = find_option(statement, "schema");
	DefElem    *cascade = find_option(statement, "cascade");
	Oid			schema;

	/* Nothing will be created, as PostgreSQL will say. */
	if (OidIsValid(get_extension_oid(statement->extname, true)))
		return pstmt;

	if (named)
	{
		require_create(get_namespace_oid(defGetString(named), false));
		return pstmt;
	}

	/* What CASCADE pulls in needs a place even if the extension itself has its own. */
	if (has_own_schema(statement) && !(cascade && defGetBoolean(cascade)))
		return pstmt;

	schema = first_schema();
	require_create(schema);
	pstmt = copyObject(pstmt);
	statement = castNode(CreateExtensionStmt, pstmt->utilityStmt);
	statement->options = lappend(statement->options,
								 makeDefElem("schema", (Node *) makeString(get_namespace_name(schema)), -1));
	return pstmt;
}
