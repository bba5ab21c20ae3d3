/*
 * host_error.c
 *		What the host says in words, and its errors as PostgreSQL's; see host_error.h.
 */
#include "postgres.h"

#include "mb/pg_wchar.h"

#include "host_error.h"

char *
host_text(FrameString string)
{
	char	   *utf8 = pnstrdup(string.bytes, string.length);

	/* A zero byte is not accepted, either. */
	if (!pg_verify_mbstr(PG_UTF8, utf8, (int) string.length, true))
		return NULL;
	return pg_any_to_server(utf8, (int) string.length, PG_UTF8);
}

void
raise_host_error(const char *function, const FrameError *error)
{
	const char *state = error->sqlstate;
	char	   *message = host_text(error->message);
	char	   *detail = host_text(error->detail);
	char	   *hint = host_text(error->hint);

	if (message == NULL || detail == NULL || hint == NULL)
		return;
	ereport(ERROR,
			(errcode(MAKE_SQLSTATE(state[0], state[1], state[2], state[3], state[4])),
			 errmsg_internal("azure_local_ai.%s: %s", function, message),
			 *detail ? errdetail_internal("%s", detail) : 0,
			 *hint ? errhint("%s", hint) : 0));
}
