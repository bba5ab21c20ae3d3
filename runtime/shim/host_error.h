/*
 * host_error.h
 *		What the host says in words, and its errors as PostgreSQL's.
 */
#ifndef AZPG_HOST_ERROR_H
#define AZPG_HOST_ERROR_H

#include "postgres.h"

#include "frame.h"

/* A string of the host in the server's encoding, terminated; NULL if it is not UTF-8. */
extern char *host_text(FrameString string);

/* Raises the host's error about an SQL function; returns only if a text of it is not UTF-8. */
extern void raise_host_error(const char *function, const FrameError *error);

#endif							/* AZPG_HOST_ERROR_H */
