/*
 * reserved_roles.c
 *		Keeps the roles of the service as they are: those whose names begin with
 *		"azure_", and azuresu.  Of all others the server admin decides, as on Azure.
 *
 * The server admin may create roles and administers azure_pg_admin, which to
 * PostgreSQL is enough to rename, alter or drop it.  Who is a member of them is left
 * to GRANT and REVOKE.  Superusers are not looked at.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_authid.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "tcop/utility.h"
#include "utils/acl.h"

#include "azpg_server.h"

#define SUPERUSER_ROLE "azuresu"
#define PREFIX "azure_"

static ProcessUtility_hook_type next_hook = NULL;

static bool
reserved(const char *name)
{
	return strncmp(name, PREFIX, strlen(PREFIX)) == 0 || strcmp(name, SUPERUSER_ROLE) == 0;
}

/* For the name that a statement would give to a role. */
static void
refuse_name(const char *name)
{
	if (reserved(name))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("role name \"%s\" is reserved for the service", name),
				 errdetail("Names that begin with \"" PREFIX "\" are reserved, and \"" SUPERUSER_ROLE "\"."),
				 errhint("Choose another name.")));
}

/* For a role that a statement would alter or drop; the words are Azure's. */
static void
refuse_role(const char *name, const char *verb)
{
	if (reserved(name))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied to %s restricted role \"%s\"", verb, name),
				 errdetail("The role belongs to the service."),
				 errhint("GRANT and REVOKE change who is a member of it.")));
}

/* A role may also be meant by CURRENT_USER and its like; PUBLIC is left to PostgreSQL. */
static void
refuse_role_spec(const RoleSpec *role, const char *verb)
{
	if (role == NULL || role->roletype == ROLESPEC_PUBLIC)
		return;
	refuse_role(role->roletype == ROLESPEC_CSTRING ? role->rolename : get_rolespec_name(role), verb);
}

#if PG_VERSION_NUM < 160000
/*
 * Before 16, CREATEROLE is enough to grant every role but a superuser.  These reach
 * programs and files of the server, or are not to be had on Azure; the words are those
 * of 16.
 */
static void
refuse_grant(const char *name)
{
	static const char *const beyond_sql[] = {"pg_execute_server_program", "pg_read_server_files",
	"pg_write_all_data", "pg_write_server_files"};

	for (size_t i = 0; i < lengthof(beyond_sql); i++)
		if (strcmp(name, beyond_sql[i]) == 0)
			ereport(ERROR,
					(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
					 errmsg("permission denied to grant role \"%s\"", name),
					 errdetail("Only roles with the ADMIN option on role \"%s\" may grant this role.",
							   name)));
}

static void
check_grants(Node *statement)
{
	ListCell   *cell;

	if (IsA(statement, GrantRoleStmt) && castNode(GrantRoleStmt, statement)->is_grant)
		foreach(cell, castNode(GrantRoleStmt, statement)->granted_roles)
			refuse_grant(lfirst_node(AccessPriv, cell)->priv_name);
	if (IsA(statement, AlterRoleStmt) &&
		castNode(AlterRoleStmt, statement)->role->roletype == ROLESPEC_CSTRING)
		refuse_grant(castNode(AlterRoleStmt, statement)->role->rolename);
	if (IsA(statement, CreateRoleStmt))
		foreach(cell, castNode(CreateRoleStmt, statement)->options)
		{
			DefElem    *option = lfirst_node(DefElem, cell);
			ListCell   *role;

			if (strcmp(option->defname, "addroleto") == 0)
				foreach(role, (List *) option->arg)
					if (lfirst_node(RoleSpec, role)->roletype == ROLESPEC_CSTRING)
						refuse_grant(lfirst_node(RoleSpec, role)->rolename);
		}
}
#endif

/* ALTER GROUP ... ADD and DROP USER is parsed as an ALTER ROLE, but is a GRANT or REVOKE. */
static bool
changes_members_only(const AlterRoleStmt *statement)
{
	return list_length(statement->options) == 1 &&
		strcmp(linitial_node(DefElem, statement->options)->defname, "rolemembers") == 0;
}

static bool
concerns_roles(Node *statement)
{
	switch (nodeTag(statement))
	{
		case T_CreateRoleStmt:
		case T_AlterRoleStmt:
		case T_AlterRoleSetStmt:
		case T_DropRoleStmt:
		case T_GrantRoleStmt:
			return true;
		case T_RenameStmt:
			return castNode(RenameStmt, statement)->renameType == OBJECT_ROLE;
		default:
			return false;
	}
}

/* CREATE ROLE ... ROLE and ADMIN are GRANTs of the new role. */
static void
check_members(const CreateRoleStmt *statement)
{
	ListCell   *cell;

	foreach(cell, statement->options)
	{
		DefElem    *option = lfirst_node(DefElem, cell);
		ListCell   *role;

		if (strcmp(option->defname, "rolemembers") == 0 || strcmp(option->defname, "adminmembers") == 0)
			foreach(role, (List *) option->arg)
				refuse_role_spec(lfirst_node(RoleSpec, role), "alter");
	}
}

static void
check_statement(Node *statement)
{
#if PG_VERSION_NUM < 160000
	check_grants(statement);
#endif

	switch (nodeTag(statement))
	{
		case T_CreateRoleStmt:
			refuse_name(castNode(CreateRoleStmt, statement)->role);
			check_members(castNode(CreateRoleStmt, statement));
			break;

		case T_AlterRoleStmt:
			if (!changes_members_only(castNode(AlterRoleStmt, statement)))
				refuse_role_spec(castNode(AlterRoleStmt, statement)->role, "alter");
			break;

		case T_AlterRoleSetStmt:
			refuse_role_spec(castNode(AlterRoleSetStmt, statement)->role, "alter");
			break;

		case T_GrantRoleStmt:
			{
				ListCell   *cell;

				foreach(cell, castNode(GrantRoleStmt, statement)->grantee_roles)
					refuse_role_spec(lfirst_node(RoleSpec, cell), "alter");
				break;
			}

		case T_RenameStmt:
			refuse_role(castNode(RenameStmt, statement)->subname, "alter");
			refuse_name(castNode(RenameStmt, statement)->newname);
			break;

		case T_DropRoleStmt:
			{
				ListCell   *cell;

				foreach(cell, castNode(DropRoleStmt, statement)->roles)
					refuse_role_spec(lfirst_node(RoleSpec, cell), "drop");
				break;
			}

		default:
			break;
	}
}

/* A copy of an ALTER ROLE with these options of it, for the role that it means now. */
static PlannedStmt *
with_options(PlannedStmt *pstmt, const char *role, List *options)
{
	PlannedStmt *copy = copyObject(pstmt);
	AlterRoleStmt *statement = castNode(AlterRoleStmt, copy->utilityStmt);

	statement->role->roletype = ROLESPEC_CSTRING;
	statement->role->rolename = pstrdup(role);
	statement->options = copyObject(options);
	return copy;
}

/*
 * Azure's page on logical replication has the server admin say ALTER ROLE ... REPLICATION,
 * of itself and of others.  PostgreSQL asks for a superuser before 16, and since then for
 * the ADMIN option on the role, which nobody has on oneself.  True if that is in the
 * statement: then "replication" is the part to run as the superuser, and "rest" what
 * remains, or NULL.
 */
static bool
split_replication(PlannedStmt *pstmt, PlannedStmt **replication, PlannedStmt **rest)
{
	AlterRoleStmt *statement;
	List	   *taken = NIL;
	List	   *left = NIL;
	ListCell   *cell;
	Oid			role;

	if (!IsA(pstmt->utilityStmt, AlterRoleStmt) || !is_admin() || !has_createrole_privilege(GetUserId()))
		return false;
	statement = castNode(AlterRoleStmt, pstmt->utilityStmt);
	foreach(cell, statement->options)
	{
		DefElem    *option = lfirst_node(DefElem, cell);

		if (strcmp(option->defname, "isreplication") == 0)
			taken = lappend(taken, option);
		else
			left = lappend(left, option);
	}
	/* PostgreSQL says what is wrong with a role there is not, PUBLIC, and an option there twice. */
	if (list_length(taken) != 1 || statement->role->roletype == ROLESPEC_PUBLIC)
		return false;
	role = get_rolespec_oid(statement->role, true);
	if (!OidIsValid(role) || superuser_arg(role))
		return false;

	*replication = with_options(pstmt, GetUserNameFromId(role, false), taken);
	*rest = left ? with_options(pstmt, GetUserNameFromId(role, false), left) : NULL;
	return true;
}

static void
process_utility(PlannedStmt *pstmt, const char *query, bool read_only_tree,
				ProcessUtilityContext context, ParamListInfo params,
				QueryEnvironment *environment, DestReceiver *destination,
				QueryCompletion *completion)
{
	ProcessUtility_hook_type next = next_hook ? next_hook : standard_ProcessUtility;
	PlannedStmt *replication;
	PlannedStmt *rest;
	bool		gives;
	Oid			user;
	int			security;

	/* The order matters: superuser() needs a transaction that has not failed. */
	if (!concerns_roles(pstmt->utilityStmt) || superuser())
	{
		next(pstmt, query, read_only_tree, context, params, environment, destination, completion);
		return;
	}
	check_statement(pstmt->utilityStmt);
	if (!split_replication(pstmt, &replication, &rest))
	{
		next(pstmt, query, read_only_tree, context, params, environment, destination, completion);
		return;
	}

	/* Before 16 nobody but a superuser alters anything of a role that has REPLICATION at the time. */
	gives = boolVal(linitial_node(DefElem, castNode(AlterRoleStmt, replication->utilityStmt)->options)->arg);
	if (rest && gives)
	{
		next(rest, query, false, context, params, environment, destination, completion);
		CommandCounterIncrement();
	}
	/* After an error it is the end of the transaction that brings the user back. */
	GetUserIdAndSecContext(&user, &security);
	SetUserIdAndSecContext(BOOTSTRAP_SUPERUSERID, security | SECURITY_LOCAL_USERID_CHANGE);
	next(replication, query, false, context, params, environment, destination, completion);
	SetUserIdAndSecContext(user, security);
	if (rest && !gives)
	{
		CommandCounterIncrement();
		next(rest, query, false, context, params, environment, destination, completion);
	}
}

void
reserved_roles_init(void)
{
	next_hook = ProcessUtility_hook;
	ProcessUtility_hook = process_utility;
}
