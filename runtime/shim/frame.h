/*
 * frame.h
 *		The wire protocol between a backend and the model host: its one job is to
 *		turn values into bytes and bytes into values, without any I/O.
 *
 * The other side, and the protocol's description, is
 * azpg_runtime/host/protocol.py.  Nothing here needs PostgreSQL, so that the codec
 * can be fuzzed and sanitised on its own.
 */
#ifndef AZPG_FRAME_H
#define AZPG_FRAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FRAME_VERSION		1
#define FRAME_HEADER_SIZE	24
#define FRAME_MAX_BODY		((size_t) 64 * 1024 * 1024)
#define FRAME_MAX_TEXT		((size_t) 16 * 1024 * 1024)
#define FRAME_MAX_DIMENSIONS 65536

typedef enum FrameKind
{
	REQUEST_EMBED = 1,
	REQUEST_REGISTER = 2,
	REQUEST_UNREGISTER = 3,
	REQUEST_UNLOAD = 4,
	REQUEST_LOADED = 5,
	REQUEST_METADATA = 6,
	REQUEST_GET_SETTINGS = 7,
	REQUEST_SET_SETTINGS = 8,
	REQUEST_STATUS = 9,
	REQUEST_DEPLOY = 10,
	REPLY_VECTORS = 128,
	REPLY_INTEGER = 129,
	REPLY_BOOLEAN = 130,
	REPLY_TEXT = 131,
	REPLY_DONE = 132,
	REPLY_ERROR = 133
} FrameKind;

typedef struct FrameHeader
{
	uint32_t	length;			/* of the body */
	uint8_t		kind;			/* a FrameKind */
	uint64_t	request_id;
	int64_t		deadline;		/* ns of CLOCK_MONOTONIC, 0 for none */
} FrameHeader;

typedef enum FrameFault
{
	FRAME_OK,
	FRAME_BAD_VERSION,
	FRAME_BAD_RESERVED,
	FRAME_BAD_LENGTH,
	FRAME_BAD_KIND
} FrameFault;

extern void frame_encode_header(uint8_t *bytes, const FrameHeader *header);
extern FrameFault frame_decode_header(const uint8_t *bytes, FrameHeader *header);
extern const char *frame_fault_text(FrameFault fault);

/*
 * A frame under construction: room for the header, then the body.  Memory comes
 * from "grow", which behaves like realloc() (NULL on failure).  A body that grows
 * past FRAME_MAX_BODY, or memory that runs out, makes the writer fail for good;
 * frame_finish() tells.
 */
typedef void *(*FrameGrow) (void *old, size_t size);

typedef struct FrameWriter
{
	uint8_t    *data;
	size_t		length;
	size_t		capacity;
	FrameGrow	grow;
	bool		failed;
} FrameWriter;

extern void frame_begin(FrameWriter *writer, FrameGrow grow);
extern void frame_put_u8(FrameWriter *writer, uint8_t value);
extern void frame_put_u32(FrameWriter *writer, uint32_t value);
extern void frame_put_string(FrameWriter *writer, const char *bytes, size_t length);
extern void frame_patch_u32(FrameWriter *writer, size_t at, uint32_t value);
extern bool frame_finish(FrameWriter *writer, FrameKind kind, uint64_t request_id, int64_t deadline);

/*
 * A body being read from front to back.  A read past the end yields zeros and makes
 * the reader fail for good; frame_done() tells whether the body held exactly what
 * was read.
 */
typedef struct FrameReader
{
	const uint8_t *at;
	const uint8_t *end;
	bool		failed;
} FrameReader;

typedef struct FrameString
{
	const char *bytes;			/* not terminated; NULL if the reader failed */
	size_t		length;
} FrameString;

typedef struct FrameError
{
	char		sqlstate[6];
	FrameString message;
	FrameString detail;
	FrameString hint;
} FrameError;

extern void frame_read(FrameReader *reader, const uint8_t *body, size_t length);
extern uint8_t frame_get_u8(FrameReader *reader);
extern uint32_t frame_get_u32(FrameReader *reader);
extern int64_t frame_get_i64(FrameReader *reader);
extern const uint8_t *frame_get_raw(FrameReader *reader, size_t length);
extern FrameString frame_get_string(FrameReader *reader);
extern bool frame_done(const FrameReader *reader);

/* Whole reply bodies: false, or NULL, for a body that breaks the rules. */
extern const uint8_t *frame_get_vectors(FrameReader *reader, uint32_t *count, uint32_t *dimensions);
extern bool frame_get_boolean(FrameReader *reader, bool *value);
extern bool frame_get_error(FrameReader *reader, FrameError *error);

#endif							/* AZPG_FRAME_H */
