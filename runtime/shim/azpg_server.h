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

/* Checks a CREATE EXTENSION as the user; returns the statement to run as the superuser. */
extern PlannedStmt *prepare_create_extension(PlannedStmt *pstmt);

#endif							/* AZPG_SERVER_H */
