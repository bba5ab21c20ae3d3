/*
 * channel.h
 *		The one connection that a backend keeps to the model host: its one job is to
 *		carry requests and replies without ever blocking what PostgreSQL wants.
 *
 * Several requests may be in flight; replies are matched by their id.  A request
 * is given up by closing the connection: whatever ends a call early (an error, a
 * cancel, a timeout) does that, so the host stops computing for nobody.
 */
#ifndef AZPG_CHANNEL_H
#define AZPG_CHANNEL_H

#include "postgres.h"

#include "frame.h"

/* How many requests may be in flight. */
#define CHANNEL_WINDOW 2

/* One SQL call's dealings with the host. */
typedef struct Call
{
	const char *function;		/* its SQL name, for messages */
	int			timeout_ms;
	int64		deadline;		/* ns of CLOCK_MONOTONIC */
} Call;

typedef struct Reply
{
	struct Reply *next;
	FrameHeader header;
	size_t		received;
	uint8		body[FLEXIBLE_ARRAY_MEMBER];
} Reply;

extern void channel_init(void);

/* Starts a call: sets its deadline, and leaves nothing of an earlier one. */
extern void channel_begin(Call *call, const char *function, int timeout_ms);

/* Sends the whole frame that "writer" holds; returns the request's id. */
extern uint64 channel_send(const Call *call, FrameWriter *writer, FrameKind kind);

/*
 * Waits for the reply to a request, which must be of this kind.  An ERROR reply is
 * raised.  The reply must be given back with channel_release().
 */
extern Reply *channel_receive(const Call *call, uint64 request_id, FrameKind kind, FrameReader *reader);
extern void channel_release(Reply *reply);

/* Closes the connection and raises 08P01. */
extern void channel_malformed(const Call *call, const char *what)
			__attribute__((__noreturn__));

#endif							/* AZPG_CHANNEL_H */
