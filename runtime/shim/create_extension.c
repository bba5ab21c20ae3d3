/*
 * create_extension.c
 *		What has to be settled as the user before CREATE EXTENSION runs as the superuser:
 *		whether there is such an extension here, and the schema it goes to.
 *
 * From then on PostgreSQL looks at the rights and the search_path of the superuser.
 * The schema is the user's choice, so the user must be allowed to create in it.
 */
#include "postgres.h"

#include "catalog/namespace.h"
#include "catalog/pg_namespace.h"
#include "commands/defrem.h"
#include "commands/extension.h"
#include "commands/schemacmds.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "utils/acl.h"
#include "utils/lsyscache.h"

#include "azpg_server.h"
#include "control.h"

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

/*
 * What to do where there is no such extension: those that Microsoft keeps to Azure are
 * in no other PostgreSQL.
 */
static const char *
instead_of(const char *extension)
{
	if (strcmp(extension, "azure_ai") == 0)
		return "No PostgreSQL outside Azure has azure_ai, and azpg has no stand-in for it yet. "
			"azure_local_ai makes embeddings here.";
	if (strcmp(extension, "azure_storage") == 0)
		return "No PostgreSQL outside Azure has azure_storage, and azpg has no stand-in for it. "
			"COPY ... FROM STDIN, or \\copy of psql, brings data in here.";
	if (strcmp(extension, "pg_diskann") == 0)
		return "No PostgreSQL outside Azure has pg_diskann, and azpg has no stand-in for it. "
			"An hnsw index of vector answers the same queries here.";
	return "\"azpg up NAME --pg-config PATH\" makes a server of a PostgreSQL that has it.";
}

static const ExtensionControl *
require_control(const CreateExtensionStmt *statement)
{
	DefElem    *version = find_option(statement, "new_version");
	const ExtensionControl *control = find_control(statement->extname,
												   version ? defGetString(version) : NULL);

	if (control == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("extension \"%s\" is allow-listed, but this local server does not have it",
						statement->extname),
				 errhint("%s", instead_of(statement->extname))));
	return control;
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
 * Makes the schema that an extension brings, as the user, whose it becomes: PostgreSQL
 * does that itself for a trusted extension.
 */
static void
make_schema(const char *name)
{
	CreateSchemaStmt *statement;

	if (OidIsValid(get_namespace_oid(name, true)))
		return;
	statement = makeNode(CreateSchemaStmt);
	statement->schemaname = pstrdup(name);
	CreateSchemaCommand(statement, "(generated CREATE SCHEMA command)", -1, -1);
}

/*
 * Returns the statement to run: one in which the schema is named, if it follows from
 * the user's search_path.
 */
PlannedStmt *
prepare_create_extension(PlannedStmt *pstmt)
{
	CreateExtensionStmt *statement = castNode(CreateExtensionStmt, pstmt->utilityStmt);
	DefElem    *named = find_option(statement, "schema");
	DefElem    *cascade = find_option(statement, "cascade");
	const ExtensionControl *control;
	Oid			schema;

	/* Nothing will be created, as PostgreSQL will say. */
	if (OidIsValid(get_extension_oid(statement->extname, true)))
		return pstmt;

	control = require_control(statement);
	if (named)
		require_create(get_namespace_oid(defGetString(named), false));
	if (control->schema)
		make_schema(control->schema);

	/* What CASCADE pulls in needs a place even if the extension brings its own. */
	if (named || (control->schema && !(cascade && defGetBoolean(cascade))))
		return pstmt;

	schema = first_schema();
	require_create(schema);
	pstmt = copyObject(pstmt);
	statement = castNode(CreateExtensionStmt, pstmt->utilityStmt);
	statement->options = lappend(statement->options,
								 makeDefElem("schema", (Node *) makeString(get_namespace_name(schema)), -1));
	return pstmt;
}
