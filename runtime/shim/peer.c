/*
 * peer.c
 *		Keeps a server from logging in to itself, or to another one, as its own user.
 *
 * Peer authentication trusts a process for the user it runs as.  A backend runs as the
 * server's user whoever is logged in there, and dblink and postgres_fdw let it connect
 * to wherever its user likes: as azuresu through the Unix socket.  They look only
 * afterwards whether a password was asked for, when session_preload_libraries of the
 * start-up packet have been loaded.  So nobody who is a PostgreSQL server is a peer.
 */
#include "postgres.h"

/*
 * libpq-be.h asks for the headers of Kerberos and OpenSSL where the server was built with
 * them; whoever builds extensions for it need not have them.  PostgreSQL keeps the places
 * of struct Port's members the same without.
 */
#undef ENABLE_GSS
#undef USE_OPENSSL

#include <sys/socket.h>
#include <unistd.h>

#include "libpq/auth.h"
#include "libpq/hba.h"
#include "libpq/libpq-be.h"
#include "miscadmin.h"

#include "azpg_server.h"

#define EXECUTABLE "postgres"

static ClientAuthentication_hook_type next_hook = NULL;

/*
 * Whether a process is a PostgreSQL server of the same user as this one.  All of them
 * can be looked at, for nothing has changed their user since they were executed.
 */
static bool
is_server(const struct ucred *process)
{
	char		link[64];
	char		path[MAXPGPATH];
	const char *name;
	ssize_t		length;

	if (process->uid != geteuid() || process->pid == 0) /* 0: it is in another namespace */
		return false;
	snprintf(link, sizeof(link), "/proc/%d/exe", (int) process->pid);
	length = readlink(link, path, sizeof(path) - 1);
	if (length < 0)
		return errno != EACCES && errno != EPERM;	/* or it has ended, and nobody is there to serve */
	path[length] = '\0';
	name = strrchr(path, '/');
	name = name ? name + 1 : path;
	/* What the kernel calls a file that has been replaced is "postgres (deleted)". */
	return strcspn(name, " .") == strlen(EXECUTABLE) &&
		strncmp(name, EXECUTABLE, strlen(EXECUTABLE)) == 0;
}

static void
check_peer(Port *port, int status)
{
	struct ucred peer;
	socklen_t	size = sizeof(peer);

	if (next_hook)
		next_hook(port, status);
	if (status != STATUS_OK || port->hba == NULL || port->hba->auth_method != uaPeer)
		return;
	if (getsockopt(port->sock, SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0)
		ereport(FATAL,
				(errcode_for_socket_access(),
				 errmsg("could not get peer credentials: %m")));
	if (is_server(&peer))
		ereport(FATAL,
				(errcode(ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION),
				 errmsg("a PostgreSQL server cannot log in as \"%s\" without a password",
						port->user_name),
				 errhint("Connect to 127.0.0.1 as a role that has a password.")));
}

void
peer_init(void)
{
	next_hook = ClientAuthentication_hook;
	ClientAuthentication_hook = check_peer;
}
