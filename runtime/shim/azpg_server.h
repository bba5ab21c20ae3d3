/*
 * azpg_server.h
 *		What the two halves of azpg_server.so know of each other: the settings, and the
 *		rules for extensions that one of them feeds.
 */
#ifndef AZPG_SERVER_H
#define AZPG_SERVER_H

/* The value of azure.extensions: names separated by commas. */
extern char *azure_extensions;

/* Hooks the statements on extensions. */
extern void allow_list_init(void);

#endif							/* AZPG_SERVER_H */
