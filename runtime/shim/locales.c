/*
 * locales.c
 *		Lets CREATE DATABASE and CREATE COLLATION take the locale names of Azure.
 *
 * Databases on Azure are en_US.utf8 by the C library, and scripts and dumps say so.  Where
 * this machine lacks that locale, C.UTF-8 stands for it, which the server itself has; text
 * is then sorted by code point, and a notice says so.  No other locale is stood in for.
 */
#include "postgres.h"

#include "commands/defrem.h"
#include "nodes/makefuncs.h"
#include "nodes/parsenodes.h"
#include "tcop/utility.h"
#include "utils/pg_locale.h"

#include "azpg_server.h"

#define STAND_IN "C.UTF-8"

static ProcessUtility_hook_type next_hook = NULL;

static bool
is_one_of(const char *name, const char *const *names)
{
	for (; *names; names++)
		if (pg_strcasecmp(name, *names) == 0)
			return true;
	return false;
}

static bool
is_azures(const char *locale)
{
	static const char *const spelt[] = {"en_US.utf8", "en_US.utf-8", NULL};

	return is_one_of(locale, spelt);
}

/* Whether the C library has it here; "" is the server's own. */
static bool
is_installed(const char *locale)
{
	return check_locale(LC_COLLATE, locale, NULL) && check_locale(LC_CTYPE, locale, NULL);
}

static DefElem *
find_option(List *options, const char *name)
{
	ListCell   *cell;

	foreach(cell, options)
	{
		DefElem    *option = lfirst_node(DefElem, cell);

		if (strcmp(option->defname, name) == 0)
			return option;
	}
	return NULL;
}

/* Whether the locales that the options name are those of the C library. */
static bool
is_libc(List *options, const char *provider)
{
	DefElem    *option = find_option(options, provider);

	return option == NULL || option->arg == NULL || pg_strcasecmp(defGetString(option), "libc") == 0;
}

static bool
names_locale(const DefElem *option)
{
	static const char *const names[] = {"locale", "lc_collate", "lc_ctype", NULL};

	return option->arg != NULL && is_one_of(option->defname, names);
}

/* Puts what there is in the place of Azure's locale, and says so if there was any need to. */
static void
stand_in(List *options, const char *provider)
{
	ListCell   *cell;
	const char *replaced = NULL;

	foreach(cell, options)
	{
		DefElem    *option = lfirst_node(DefElem, cell);
		char	   *locale;

		/* Of another provider, "locale" is a name of its own, and the others are still the C library's. */
		if (!names_locale(option) || (strcmp(option->defname, "locale") == 0 && !is_libc(options, provider)))
			continue;
		locale = defGetString(option);
		if (!is_azures(locale) || is_installed(locale))
			continue;
		replaced = locale;
		option->arg = (Node *) makeString(pstrdup(STAND_IN));
	}
	if (replaced)
		ereport(NOTICE,
				(errmsg("locale \"%s\" is not installed on this machine; \"" STAND_IN "\" stands for it",
						replaced),
				 errdetail("Text is sorted by code point: upper case before lower case, "
						   "accented letters after both.")));
}

/* PostgreSQL only says that the name is invalid. */
static void
require_installed(List *options)
{
	ListCell   *cell;

	foreach(cell, options)
	{
		DefElem    *option = lfirst_node(DefElem, cell);

		if (names_locale(option) && !is_installed(defGetString(option)))
			ereport(ERROR,
					(errcode(ERRCODE_WRONG_OBJECT_TYPE),
					 errmsg("locale \"%s\" is not installed on this machine", defGetString(option)),
					 errdetail("\"en_US.utf8\", \"C.UTF-8\", \"C\" and what \"locale -a\" lists can be used."),
					 errhint("Where it is needed, install it in the operating system, then \"azpg restart\".")));
	}
}

#if PG_VERSION_NUM >= 170000
static bool
is_stand_in(const char *locale)
{
	static const char *const spelt[] = {"C.utf8", STAND_IN, NULL};

	return is_one_of(locale, spelt);
}

/*
 * From 17 on, the template's provider is the server's own, which has hardly any locale and
 * pays no heed to LC_COLLATE; on Azure it is the C library.  Who names a locale of that, such
 * as C for LATIN1, without a provider means the C library.
 */
static bool
means_libc(List *options)
{
	static const char *const decided[] = {"locale_provider", "builtin_locale", "icu_locale", NULL};
	bool		means = false;
	ListCell   *cell;

	foreach(cell, options)
	{
		DefElem    *option = lfirst_node(DefElem, cell);

		if (is_one_of(option->defname, decided))
			return false;
		if (names_locale(option) && !is_stand_in(defGetString(option)))
			means = true;
	}
	return means;
}
#endif

static PlannedStmt *
prepare_create_database(PlannedStmt *pstmt)
{
	CreatedbStmt *statement;

	pstmt = copyObject(pstmt);
	statement = castNode(CreatedbStmt, pstmt->utilityStmt);
	stand_in(statement->options, "locale_provider");
	if (is_libc(statement->options, "locale_provider"))
		require_installed(statement->options);
#if PG_VERSION_NUM >= 170000
	if (means_libc(statement->options))
		statement->options = lappend(statement->options,
									 makeDefElem("locale_provider", (Node *) makeString(pstrdup("libc")), -1));
#endif
	return pstmt;
}

static PlannedStmt *
prepare_create_collation(PlannedStmt *pstmt)
{
	pstmt = copyObject(pstmt);
	stand_in(castNode(DefineStmt, pstmt->utilityStmt)->definition, "provider");
	return pstmt;
}

/* None of it looks into the catalogs, so that it may run in a transaction that has failed. */
static void
process_utility(PlannedStmt *pstmt, const char *query, bool read_only_tree,
				ProcessUtilityContext context, ParamListInfo params,
				QueryEnvironment *environment, DestReceiver *destination,
				QueryCompletion *completion)
{
	ProcessUtility_hook_type next = next_hook ? next_hook : standard_ProcessUtility;
	Node	   *statement = pstmt->utilityStmt;

	if (IsA(statement, CreatedbStmt))
		pstmt = prepare_create_database(pstmt);
	else if (IsA(statement, DefineStmt) && castNode(DefineStmt, statement)->kind == OBJECT_COLLATION)
		pstmt = prepare_create_collation(pstmt);
	next(pstmt, query, read_only_tree, context, params, environment, destination, completion);
}

void
locales_init(void)
{
	next_hook = ProcessUtility_hook;
	ProcessUtility_hook = process_utility;
}
