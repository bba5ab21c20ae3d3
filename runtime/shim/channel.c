/*
 * channel.c
 *		The connection of this backend to the model host; see channel.h.
 */
#include "postgres.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "access/xact.h"
#include "miscadmin.h"
#include "storage/fd.h"
#include "storage/latch.h"
#include "tcop/dest.h"
#include "tcop/tcopprot.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/wait_event.h"

#include "channel.h"
#include "host_error.h"

#define NS_PER_MS INT64CONST(1000000)

/* Its header, libpq/libpq.h, asks for OpenSSL's where the server was built with it. */
extern bool pq_check_connection(void);

/* The host is given this long past the deadline to say so itself. */
#define GRACE_NS (250 * NS_PER_MS)

/* No single wait is longer: so often it is seen that the client has left. */
#define LONGEST_WAIT_MS 250

/* How often to knock while the host's queue of connections is full. */
#define KNOCK_MS 5

#define HOST_HINT "\"azpg status\" shows the model host and \"azpg up\" starts it."

/*
 * All of it is this backend's own.  While "unanswered" is not 0 the connection must
 * not outlive the call, so everything that ends a call early closes it.
 */
static struct
{
	int			fd;
	int			owner;			/* the process that opened fd */
	uint64		last_id;
	int			unanswered;
	uint64		ids[CHANNEL_WINDOW];	/* of the unanswered requests */
	Reply	   *partial;		/* a frame whose body is still coming in */
	Reply	   *arrived;		/* replies that nobody has asked for yet */
	size_t		input_length;
	uint8		input[8192];	/* bytes that no frame has taken yet */
	MemoryContext context;		/* holds the replies */
} channel = {.fd = -1};

static int64
now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64) now.tv_sec * INT64CONST(1000000000) + now.tv_nsec;
}

static void
channel_close(void)
{
	if (channel.fd >= 0)
	{
		close(channel.fd);
		if (channel.owner == MyProcPid)
			ReleaseExternalFD();
		channel.fd = -1;
	}
	channel.unanswered = 0;
	channel.partial = NULL;
	channel.arrived = NULL;
	channel.input_length = 0;
	if (channel.context)
		MemoryContextReset(channel.context);
}

/* What an aborted call leaves: an unanswered request, or replies nobody will read. */
static void
channel_abandon(void)
{
	if (channel.unanswered > 0 || channel.partial)
		channel_close();
	else if (channel.context)
	{
		channel.arrived = NULL;
		MemoryContextReset(channel.context);
	}
}

static void
on_transaction(XactEvent event, void *arg)
{
	if (event == XACT_EVENT_ABORT || event == XACT_EVENT_PARALLEL_ABORT)
		channel_abandon();
}

/* A call runs no SQL, so a subtransaction that aborts contains it or has nothing of it. */
static void
on_subtransaction(SubXactEvent event, SubTransactionId subid, SubTransactionId parent, void *arg)
{
	if (event == SUBXACT_EVENT_ABORT_SUB)
		channel_abandon();
}

void
channel_init(void)
{
	RegisterXactCallback(on_transaction, NULL);
	RegisterSubXactCallback(on_subtransaction, NULL);
}

void
channel_malformed(const Call *call, const char *what)
{
	channel_close();
	ereport(ERROR,
			(errcode(ERRCODE_PROTOCOL_VIOLATION),
			 errmsg("azure_local_ai.%s: the model host sent a malformed reply: %s",
					call->function, what),
			 errhint("The host and the server may come from different versions of azpg; "
					 "\"azpg down\" and \"azpg up\" start both anew.")));
}

static void
raise_lost(const Call *call)
{
	channel_close();
	ereport(ERROR,
			(errcode(ERRCODE_CONNECTION_FAILURE),
			 errmsg("azure_local_ai.%s: the model host ended the connection before it answered",
					call->function),
			 errhint("The call can be repeated. " HOST_HINT)));
}

static void
raise_timeout(const Call *call)
{
	channel_close();
	ereport(ERROR,
			(errcode(ERRCODE_QUERY_CANCELED),
			 errmsg("azure_local_ai.%s: timed out after %d ms, without a word from the model host",
					call->function, call->timeout_ms),
			 errhint("\"azpg status\" shows whether the model host answers. If it is only busy, "
					 "raise timeout_ms.")));
}

static uint32
wait_event(void)
{
#if PG_VERSION_NUM >= 170000
	static uint32 event = 0;

	if (event == 0)
		event = WaitEventExtensionNew("AzpgModelHost");
	return event;
#else
	return PG_WAIT_EXTENSION;
#endif
}

/*
 * Marks the statement for its end if its client has left.  PostgreSQL itself looks only
 * if client_connection_check_interval says so; else it would find out when the result is
 * sent, and the host would compute for nobody until then.  A parallel worker has no
 * client of its own.
 */
static void
look_for_client(void)
{
	static int64 next = 0;
	int64		now = now_ns();

	if (now < next || MyProcPort == NULL || whereToSendOutput != DestRemote)
		return;
	next = now + LONGEST_WAIT_MS * NS_PER_MS;
	if (!pq_check_connection())
	{
		ClientConnectionLost = true;
		InterruptPending = true;
	}
}

/*
 * Waits until one of "events" (WL_SOCKET_*, or 0 for none) happens or "most_ms" is
 * over; returns what happened.  Raises what ends the call: a cancel, or its deadline.
 */
static int
wait_for(const Call *call, int events, int most_ms)
{
	int64		left = call->deadline + GRACE_NS - now_ns();
	int			happened;

	if (left <= 0)
		raise_timeout(call);
	left = Min((left + NS_PER_MS - 1) / NS_PER_MS, most_ms);

	happened = WaitLatchOrSocket(MyLatch,
								 WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH | events,
								 events ? channel.fd : PGINVALID_SOCKET,
								 (long) left, wait_event());
	if (happened & WL_LATCH_SET)
		ResetLatch(MyLatch);
	look_for_client();
	CHECK_FOR_INTERRUPTS();
	return happened;
}

/*
 * The value of a setting of azpg_server.so; NULL if that library is not loaded.
 *
 * A server without the library lets anyone SET a placeholder of the same name, which
 * must never name the process that gets to see people's texts: only the real
 * settings are readable by superusers alone.
 */
static const char *
server_setting(const char *name)
{
	int			flags = GetConfigOptionFlags(name, true);

	if (!(flags & GUC_SUPERUSER_ONLY) || (flags & GUC_CUSTOM_PLACEHOLDER))
		return NULL;
	return GetConfigOption(name, true, false);
}

static void
find_host(const Call *call, struct sockaddr_un *address, long *uid)
{
	const char *path = server_setting("azpg.model_host_socket");
	const char *host_uid = server_setting("azpg.model_host_uid");

	if (path == NULL || path[0] == '\0' || host_uid == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("azure_local_ai.%s: this server has no model host", call->function),
				 errhint("The server must be started with \"azpg up\".")));

	memset(address, 0, sizeof(*address));
	address->sun_family = AF_UNIX;
	if (strlcpy(address->sun_path, path, sizeof(address->sun_path)) >= sizeof(address->sun_path))
		ereport(ERROR,
				(errcode(ERRCODE_CONFIG_FILE_ERROR),
				 errmsg("azure_local_ai.%s: azpg.model_host_socket is %zu bytes long; the limit is %zu",
						call->function, strlen(path), sizeof(address->sun_path) - 1)));
	*uid = strtol(host_uid, NULL, 10);
}

static void
check_peer(const Call *call, long host_uid)
{
	struct ucred peer;
	socklen_t	size = sizeof(peer);

	if (getsockopt(channel.fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) < 0 || size != sizeof(peer))
	{
		int			cause = errno;

		channel_close();
		errno = cause;
		ereport(ERROR,
				(errcode(ERRCODE_CONNECTION_EXCEPTION),
				 errmsg("azure_local_ai.%s: the model host's user cannot be found out: %m",
						call->function)));
	}
	/* root could be any of them: the host runs as root where its own user cannot do its work. */
	if (peer.uid == geteuid() || peer.uid == 0 || (host_uid >= 0 && peer.uid == (uid_t) host_uid))
		return;

	channel_close();
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("azure_local_ai.%s: the process at the model host's socket belongs to another user",
					call->function),
			 errdetail("Its user id is %u.", (unsigned) peer.uid),
			 errhint(HOST_HINT)));
}

static void
channel_connect(const Call *call)
{
	struct sockaddr_un address;
	long		host_uid;

	find_host(call, &address, &host_uid);

	if (!AcquireExternalFD())
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_RESOURCES),
				 errmsg("azure_local_ai.%s: no file descriptor is left for the model host: %m",
						call->function)));
	channel.fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (channel.fd < 0)
	{
		int			cause = errno;

		ReleaseExternalFD();
		errno = cause;
		ereport(ERROR,
				(errcode_for_socket_access(),
				 errmsg("azure_local_ai.%s: could not create a socket: %m", call->function)));
	}
	channel.owner = MyProcPid;

	/* An interrupt during the wait leaves an unconnected socket; channel_ready() sees that. */
	while (connect(channel.fd, (struct sockaddr *) &address, sizeof(address)) < 0)
	{
		int			cause = errno;

		if (cause == EINTR)
			continue;
		if (cause == EAGAIN)
		{
			wait_for(call, 0, KNOCK_MS);
			continue;
		}
		channel_close();
		errno = cause;
		ereport(ERROR,
				(errcode(ERRCODE_SQLCLIENT_UNABLE_TO_ESTABLISH_SQLCONNECTION),
				 errmsg("azure_local_ai.%s: the model host cannot be reached: %m", call->function),
				 errhint(HOST_HINT)));
	}
	check_peer(call, host_uid);
}

/* Whether the kept connection can take a request: nothing to read, and no end of it. */
static bool
channel_ready(void)
{
	char		byte;

	return channel.fd >= 0 && channel.input_length == 0 &&
		recv(channel.fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) < 0 &&
		(errno == EAGAIN || errno == EWOULDBLOCK);
}

void
channel_begin(Call *call, const char *function, int timeout_ms)
{
	call->function = function;
	call->timeout_ms = timeout_ms;
	call->deadline = now_ns() + timeout_ms * NS_PER_MS;

	/* A forked copy of another process's connection is not ours to speak on. */
	if (channel.owner != MyProcPid)
		channel_close();
	channel_abandon();
	if (channel.context == NULL)
		channel.context = AllocSetContextCreate(TopMemoryContext, "azure_local_ai replies",
												ALLOCSET_DEFAULT_SIZES);
	CHECK_FOR_INTERRUPTS();
}

/* Begins the reply whose header is at "bytes"; it must answer a request of ours. */
static void
begin_reply(const Call *call, const uint8 *bytes)
{
	FrameHeader header;
	FrameFault	fault = frame_decode_header(bytes, &header);
	int			i;

	if (fault != FRAME_OK)
		channel_malformed(call, frame_fault_text(fault));
	if (header.kind < REPLY_VECTORS)
		channel_malformed(call, "it is a request");

	for (i = 0; i < channel.unanswered; i++)
		if (channel.ids[i] == header.request_id)
			break;
	if (i == channel.unanswered)
		channel_malformed(call, "it answers no request");

	channel.partial = MemoryContextAlloc(channel.context, offsetof(Reply, body) + header.length);
	channel.partial->header = header;
	channel.partial->received = 0;
	channel.ids[i] = channel.ids[--channel.unanswered];
}

/* Makes replies of the bytes that have come in. */
static void
digest(const Call *call)
{
	size_t		at = 0;

	for (;;)
	{
		Reply	   *reply = channel.partial;
		size_t		take;

		if (reply == NULL)
		{
			if (channel.input_length - at < FRAME_HEADER_SIZE)
				break;
			begin_reply(call, channel.input + at);
			at += FRAME_HEADER_SIZE;
			continue;
		}
		take = Min(channel.input_length - at, reply->header.length - reply->received);
		memcpy(reply->body + reply->received, channel.input + at, take);
		reply->received += take;
		at += take;
		if (reply->received < reply->header.length)
			break;
		reply->next = channel.arrived;
		channel.arrived = reply;
		channel.partial = NULL;
	}
	channel.input_length -= at;
	memmove(channel.input, channel.input + at, channel.input_length);
}

/* Reads once; false if nothing was there. */
static bool
pump(const Call *call)
{
	Reply	   *reply = channel.partial;
	bool		direct;
	ssize_t		n;

	/* The bulk of a long body goes straight to its place; the input is empty then. */
	direct = reply && reply->header.length - reply->received >= sizeof(channel.input);
	if (direct)
		n = recv(channel.fd, reply->body + reply->received,
				 reply->header.length - reply->received, MSG_DONTWAIT);
	else
		n = recv(channel.fd, channel.input + channel.input_length,
				 sizeof(channel.input) - channel.input_length, MSG_DONTWAIT);
	if (n < 0 && errno == EINTR)
		return true;
	if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
		return false;
	if (n <= 0)
		raise_lost(call);

	if (direct)
		reply->received += n;
	else
		channel.input_length += n;
	digest(call);
	return true;
}

/* Writes the frame; false if the host is not there any more. */
static bool
write_frame(const Call *call, const FrameWriter *writer)
{
	size_t		written = 0;

	while (written < writer->length)
	{
		ssize_t		n = send(channel.fd, writer->data + written, writer->length - written,
							 MSG_NOSIGNAL | MSG_DONTWAIT);

		if (n >= 0)
			written += n;
		else if (errno == EAGAIN || errno == EWOULDBLOCK)
		{
			/* The host may want to be rid of an earlier reply before it reads on. */
			int			also = channel.unanswered > 1 || channel.partial ? WL_SOCKET_READABLE : 0;

			if (wait_for(call, WL_SOCKET_WRITEABLE | also, LONGEST_WAIT_MS) & WL_SOCKET_READABLE)
				(void) pump(call);
		}
		else if (errno != EINTR)
			return false;
	}
	return true;
}

uint64
channel_send(const Call *call, FrameWriter *writer, FrameKind kind)
{
	uint64		id = ++channel.last_id;
	bool		in_use = channel.unanswered > 0 || channel.partial || channel.arrived;
	bool		kept = false;

	if (!frame_finish(writer, kind, id, call->deadline))
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("azure_local_ai.%s: the request is longer than the limit of %zu bytes",
						call->function, FRAME_MAX_BODY)));
	if (channel.unanswered >= CHANNEL_WINDOW)
		elog(ERROR, "azure_local_ai.%s: too many requests in flight", call->function);

	if (!in_use)
	{
		kept = channel_ready();
		if (!kept)
		{
			channel_close();
			channel_connect(call);
		}
	}

	for (;;)
	{
		channel.ids[channel.unanswered++] = id;
		if (write_frame(call, writer))
			return id;

		/*
		 * A connection kept from an earlier call may have died just now.  The host
		 * cannot have acted on a frame it has not got whole, so to send that again
		 * is safe whatever it asks for.
		 */
		if (!kept)
			raise_lost(call);
		kept = false;
		channel_close();
		channel_connect(call);
	}
}

/* Takes the reply to a request off the list of those that have arrived. */
static Reply *
take_reply(uint64 request_id)
{
	for (Reply **link = &channel.arrived; *link; link = &(*link)->next)
	{
		Reply	   *reply = *link;

		if (reply->header.request_id == request_id)
		{
			*link = reply->next;
			return reply;
		}
	}
	return NULL;
}

Reply *
channel_receive(const Call *call, uint64 request_id, FrameKind kind, FrameReader *reader)
{
	Reply	   *reply;

	while ((reply = take_reply(request_id)) == NULL)
		if (!pump(call))
			wait_for(call, WL_SOCKET_READABLE, LONGEST_WAIT_MS);

	frame_read(reader, reply->body, reply->header.length);
	if (reply->header.kind == REPLY_ERROR)
	{
		FrameError	error;

		if (!frame_get_error(reader, &error))
			channel_malformed(call, "its error cannot be read");
		raise_host_error(call->function, &error);
		channel_malformed(call, "its text is not UTF-8");
	}
	if (reply->header.kind != kind)
		channel_malformed(call, "it is of another kind than the request asks for");
	return reply;
}

void
channel_release(Reply *reply)
{
	pfree(reply);
}
