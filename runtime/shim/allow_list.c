/*
 * allow_list.c
 *		Who may create, change and drop which extension, as on a Flexible Server.
 *
 * Members of azure_pg_admin may, for the extensions that azure.extensions names; the
 * statement then runs as the bootstrap superuser, because most extensions (pgvector
 * among them) are not marked as trusted.  Extensions that CREATE EXTENSION ... CASCADE
 * pulls in need not be listed: so it is documented for pg_diskann, which brings vector.
 * Superusers are not looked at.
 */
#include "postgres.h"

#include "catalog/pg_authid.h"
#include "commands/defrem.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "tcop/utility.h"
#include "utils/acl.h"

#include "azpg_server.h"
#include "control.h"

static ProcessUtility_hook_type next_hook = NULL;

/* Whether an element of the list, in whatever case, means this name. */
static bool
means(const char *element, const char *name, size_t length)
{
	for (size_t i = 0; i < length; i++)
		if (pg_ascii_tolower((unsigned char) element[i]) != (unsigned char) name[i])
			return false;
	return true;
}

/* Whether azure.extensions names it; spaces and empty elements do not matter. */
static bool
listed(const char *extension)
{
	const char *at = azure_extensions ? azure_extensions : "";
	size_t		length = strlen(extension);

	while (*at)
	{
		size_t		size;

		at += strspn(at, ", \t\r\n\"");
		size = strcspn(at, ",");
		for (; size > 0 && strchr(" \t\r\n\"", at[size - 1]); size--)
			;
		if (size > 0 && size == length && means(at, extension, length))
			return true;
		at += strcspn(at, ",");
	}
	return false;
}

bool
is_admin(void)
{
	Oid			admins = get_role_oid(ADMIN_ROLE, true);

	return OidIsValid(admins) && has_privs_of_role(GetUserId(), admins);
}

static void
require_admin(const char *statement)
{
	if (!is_admin())
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("Only members of \"" ADMIN_ROLE "\" are allowed to use %s", statement)));
}

static void
require_listed(const char *extension)
{
	if (!listed(extension))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("extension \"%s\" is not allow-listed for \"" ADMIN_ROLE
						"\" users in Azure Database for PostgreSQL", extension),
				 errhint("to learn how to allow an extension or see the list of allowed extensions, "
						 "please refer to https://go.microsoft.com/fwlink/?linkid=2301063")));
}

/* Azure knows only the newest version, which is the one that the control file names. */
static void
require_newest(const AlterExtensionStmt *statement)
{
	const ExtensionControl *control;
	const char *version;

	/* "new_version" is the only option there is. */
	if (statement->options == NIL)
		return;
	version = defGetString(linitial_node(DefElem, statement->options));
	control = find_control(statement->extname, NULL);
	if (control && control->default_version && strcmp(version, control->default_version) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("extension \"%s\" can be updated only to its newest version, \"%s\"",
						statement->extname, control->default_version),
				 errhint("Use ALTER EXTENSION ... UPDATE without TO.")));
}

static bool
concerns_extension(Node *statement)
{
	switch (nodeTag(statement))
	{
		case T_CreateExtensionStmt:
		case T_AlterExtensionStmt:
		case T_AlterExtensionContentsStmt:
			return true;
		case T_AlterObjectSchemaStmt:
			return castNode(AlterObjectSchemaStmt, statement)->objectType == OBJECT_EXTENSION;
		case T_DropStmt:
			return castNode(DropStmt, statement)->removeType == OBJECT_EXTENSION;
		case T_CommentStmt:
			return castNode(CommentStmt, statement)->objtype == OBJECT_EXTENSION;
		default:
			return false;
	}
}

/*
 * Raises what a statement on extensions may not do.  True if it may and needs a
 * superuser's rights for it, false if it runs with the user's own.
 */
static bool
check_statement(Node *statement)
{
	switch (nodeTag(statement))
	{
		case T_CreateExtensionStmt:
			require_admin("CREATE EXTENSION");
			require_listed(castNode(CreateExtensionStmt, statement)->extname);
			return true;

		case T_AlterExtensionStmt:
			require_admin("ALTER EXTENSION");
			require_listed(castNode(AlterExtensionStmt, statement)->extname);
			require_newest(castNode(AlterExtensionStmt, statement));
			return true;

		case T_AlterExtensionContentsStmt:
			/* ADD and DROP: whoever owns both may, and here that is a superuser. */
			require_admin("ALTER EXTENSION");
			return false;

		case T_AlterObjectSchemaStmt:
			require_admin("ALTER EXTENSION");
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("SET SCHEMA clause for ALTER EXTENSION is not supported.")));
			return false;		/* not reached */

		case T_DropStmt:
			{
				ListCell   *cell;

				require_admin("DROP EXTENSION");
				foreach(cell, castNode(DropStmt, statement)->objects)
					require_listed(strVal(lfirst(cell)));
				return true;
			}

		case T_CommentStmt:
			/* pg_dump writes one for each extension; whoever may create it may restore it. */
			return is_admin() && listed(strVal(castNode(CommentStmt, statement)->object));

		default:
			return false;
	}
}

static void
process_utility(PlannedStmt *pstmt, const char *query, bool read_only_tree,
				ProcessUtilityContext context, ParamListInfo params,
				QueryEnvironment *environment, DestReceiver *destination,
				QueryCompletion *completion)
{
	ProcessUtility_hook_type next = next_hook ? next_hook : standard_ProcessUtility;
	Oid			user;
	int			security;

	/*
	 * The order matters: ROLLBACK comes here in a failed transaction too, where the
	 * catalogs, and so superuser(), are out of reach.
	 */
	if (!concerns_extension(pstmt->utilityStmt) || superuser() ||
		!check_statement(pstmt->utilityStmt))
	{
		next(pstmt, query, read_only_tree, context, params, environment, destination, completion);
		return;
	}

	if (IsA(pstmt->utilityStmt, CreateExtensionStmt))
		pstmt = prepare_create_extension(pstmt);

	/* After an error it is the end of the transaction that brings the user back. */
	GetUserIdAndSecContext(&user, &security);
	SetUserIdAndSecContext(BOOTSTRAP_SUPERUSERID, security | SECURITY_LOCAL_USERID_CHANGE);
	next(pstmt, query, read_only_tree, context, params, environment, destination, completion);
	if (IsA(pstmt->utilityStmt, CreateExtensionStmt))
		grant_extension(castNode(CreateExtensionStmt, pstmt->utilityStmt)->extname);
	else if (IsA(pstmt->utilityStmt, AlterExtensionStmt))
		grant_extension(castNode(AlterExtensionStmt, pstmt->utilityStmt)->extname);
	SetUserIdAndSecContext(user, security);
}

void
allow_list_init(void)
{
	next_hook = ProcessUtility_hook;
	ProcessUtility_hook = process_utility;
}
