/*
 * azpg_server.h
 *		What the parts of azpg_server.so know of each other.
 */
#ifndef AZPG_SERVER_H
#define AZPG_SERVER_H

#include "postgres.h"

#include "nodes/plannodes.h"

/* The role whose members administer the server. */
#define ADMIN_ROLE "azure_pg_admin"

/* The value of azure.extensions: names separated by commas. */
extern char *azure_extensions;

/* Hooks the statements on extensions. */
extern void allow_list_init(void);

/* Hooks the statements on roles. */
extern void reserved_roles_init(void);

/* Hooks the statements that name a locale. */
extern void locales_init(void);

/* Lets the server admin use the logical decoding plug-ins of Azure. */
extern void decoding_plugin_init(void);

/* Refuses libraries from outside the server's own folder. */
extern void libraries_init(void);

/* Hooks authentication. */
extern void peer_init(void);

/* Whether the user in force has the rights of ADMIN_ROLE. */
extern bool is_admin(void);

/* Checks a CREATE EXTENSION as the user; returns the statement to run as the superuser. */
extern PlannedStmt *prepare_create_extension(PlannedStmt *pstmt);

/* Grants parts of a new or updated extension to the server admin, as the superuser. */
extern void grant_extension(const char *name);

#endif							/* AZPG_SERVER_H */
