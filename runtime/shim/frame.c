/*
 * frame.c
 *		Codec of the protocol between a backend and the model host; see frame.h.
 */
#include "frame.h"

#include <string.h>

#define FIRST_CAPACITY 1024

/* Numbers are little-endian whatever the machine; compilers make one move of these. */

static void
store_le(uint8_t *bytes, uint64_t value, int size)
{
	for (int i = 0; i < size; i++)
		bytes[i] = (uint8_t) (value >> (8 * i));
}

static uint64_t
load_le(const uint8_t *bytes, int size)
{
	uint64_t	value = 0;

	for (int i = 0; i < size; i++)
		value |= (uint64_t) bytes[i] << (8 * i);
	return value;
}

static bool
known_kind(uint8_t kind)
{
	return (kind >= REQUEST_EMBED && kind <= REQUEST_DEPLOY) ||
		(kind >= REPLY_VECTORS && kind <= REPLY_ERROR);
}

void
frame_encode_header(uint8_t *bytes, const FrameHeader *header)
{
	store_le(bytes, header->length, 4);
	bytes[4] = FRAME_VERSION;
	bytes[5] = header->kind;
	store_le(bytes + 6, 0, 2);
	store_le(bytes + 8, header->request_id, 8);
	store_le(bytes + 16, (uint64_t) header->deadline, 8);
}

FrameFault
frame_decode_header(const uint8_t *bytes, FrameHeader *header)
{
	header->length = (uint32_t) load_le(bytes, 4);
	header->kind = bytes[5];
	header->request_id = load_le(bytes + 8, 8);
	header->deadline = (int64_t) load_le(bytes + 16, 8);

	if (bytes[4] != FRAME_VERSION)
		return FRAME_BAD_VERSION;
	if (load_le(bytes + 6, 2) != 0)
		return FRAME_BAD_RESERVED;
	if (header->length > FRAME_MAX_BODY)
		return FRAME_BAD_LENGTH;
	if (!known_kind(header->kind))
		return FRAME_BAD_KIND;
	return FRAME_OK;
}

const char *
frame_fault_text(FrameFault fault)
{
	switch (fault)
	{
		case FRAME_OK:
			return "nothing is wrong";
		case FRAME_BAD_VERSION:
			return "its protocol version is another one";
		case FRAME_BAD_RESERVED:
			return "its reserved header field is not 0";
		case FRAME_BAD_LENGTH:
			return "it is over the size limit";
		case FRAME_BAD_KIND:
			return "its kind is unknown";
	}
	return "it is malformed";
}

/* Makes room for "size" more bytes and returns where they go, NULL if there is none. */
static uint8_t *
extend(FrameWriter *writer, size_t size)
{
	const size_t limit = FRAME_HEADER_SIZE + FRAME_MAX_BODY;
	uint8_t    *place;

	if (writer->failed || size > limit - writer->length)
	{
		writer->failed = true;
		return NULL;
	}
	if (size > writer->capacity - writer->length)
	{
		size_t		capacity = writer->capacity ? writer->capacity : FIRST_CAPACITY;
		uint8_t    *data;

		while (capacity - writer->length < size)
			capacity *= 2;		/* ends below twice the limit */
		data = writer->grow(writer->data, capacity);
		if (data == NULL)
		{
			writer->failed = true;
			return NULL;
		}
		writer->data = data;
		writer->capacity = capacity;
	}
	place = writer->data + writer->length;
	writer->length += size;
	return place;
}

void
frame_begin(FrameWriter *writer, FrameGrow grow)
{
	*writer = (FrameWriter) {.grow = grow};
	extend(writer, FRAME_HEADER_SIZE);
}

void
frame_put_u8(FrameWriter *writer, uint8_t value)
{
	uint8_t    *place = extend(writer, 1);

	if (place)
		*place = value;
}

void
frame_put_u32(FrameWriter *writer, uint32_t value)
{
	uint8_t    *place = extend(writer, 4);

	if (place)
		store_le(place, value, 4);
}

void
frame_put_string(FrameWriter *writer, const char *bytes, size_t length)
{
	uint8_t    *place;

	/* Refused before the length is narrowed to 32 bits. */
	if (length > FRAME_MAX_BODY)
	{
		writer->failed = true;
		return;
	}
	frame_put_u32(writer, (uint32_t) length);
	place = extend(writer, length);
	if (place && length > 0)
		memcpy(place, bytes, length);
}

/* Overwrites a number put earlier, for a count that is only known at the end. */
void
frame_patch_u32(FrameWriter *writer, size_t at, uint32_t value)
{
	if (writer->failed || at < FRAME_HEADER_SIZE || at + 4 > writer->length)
		writer->failed = true;
	else
		store_le(writer->data + at, value, 4);
}

bool
frame_finish(FrameWriter *writer, FrameKind kind, uint64_t request_id, int64_t deadline)
{
	FrameHeader header;

	if (writer->failed)
		return false;
	header.length = (uint32_t) (writer->length - FRAME_HEADER_SIZE);
	header.kind = (uint8_t) kind;
	header.request_id = request_id;
	header.deadline = deadline;
	frame_encode_header(writer->data, &header);
	return true;
}

void
frame_read(FrameReader *reader, const uint8_t *body, size_t length)
{
	reader->at = body;
	reader->end = body + length;
	reader->failed = false;
}

const uint8_t *
frame_get_raw(FrameReader *reader, size_t length)
{
	const uint8_t *place = reader->at;

	if (reader->failed || length > (size_t) (reader->end - reader->at))
	{
		reader->failed = true;
		return NULL;
	}
	reader->at += length;
	return place;
}

uint8_t
frame_get_u8(FrameReader *reader)
{
	const uint8_t *place = frame_get_raw(reader, 1);

	return place ? *place : 0;
}

uint32_t
frame_get_u32(FrameReader *reader)
{
	const uint8_t *place = frame_get_raw(reader, 4);

	return place ? (uint32_t) load_le(place, 4) : 0;
}

int64_t
frame_get_i64(FrameReader *reader)
{
	const uint8_t *place = frame_get_raw(reader, 8);

	return place ? (int64_t) load_le(place, 8) : 0;
}

FrameString
frame_get_string(FrameReader *reader)
{
	FrameString string = {NULL, 0};
	uint32_t	length = frame_get_u32(reader);

	string.bytes = (const char *) frame_get_raw(reader, length);
	if (string.bytes)
		string.length = length;
	return string;
}

bool
frame_done(const FrameReader *reader)
{
	return !reader->failed && reader->at == reader->end;
}

/* The float32 values of a VECTORS body, row after row, not aligned. */
const uint8_t *
frame_get_vectors(FrameReader *reader, uint32_t *count, uint32_t *dimensions)
{
	const uint8_t *values;

	*count = frame_get_u32(reader);
	*dimensions = frame_get_u32(reader);
	if (*dimensions < 1 || *dimensions > FRAME_MAX_DIMENSIONS || *count > FRAME_MAX_BODY)
		return NULL;
	values = frame_get_raw(reader, (size_t) *count * *dimensions * 4);
	return frame_done(reader) ? values : NULL;
}

bool
frame_get_boolean(FrameReader *reader, bool *value)
{
	uint8_t		flag = frame_get_u8(reader);

	*value = flag == 1;
	return frame_done(reader) && flag <= 1;
}

bool
frame_get_error(FrameReader *reader, FrameError *error)
{
	const uint8_t *state = frame_get_raw(reader, 5);

	if (state == NULL)
		return false;
	for (int i = 0; i < 5; i++)
	{
		if (!((state[i] >= '0' && state[i] <= '9') || (state[i] >= 'A' && state[i] <= 'Z')))
			return false;
		error->sqlstate[i] = (char) state[i];
	}
	error->sqlstate[5] = '\0';

	/* Class 00 means success, which no error can be. */
	if (state[0] == '0' && state[1] == '0')
		return false;

	error->message = frame_get_string(reader);
	error->detail = frame_get_string(reader);
	error->hint = frame_get_string(reader);
	return frame_done(reader);
}
