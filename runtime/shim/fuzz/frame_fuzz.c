/*
 * frame_fuzz.c
 *		Feeds arbitrary bytes to the codec in frame.c.  Built with AZPG_FUZZ: by clang
 *		for libFuzzer, by gcc with a main() that makes up bytes by itself.  Both take
 *		-runs=N, -seed=N and -max_total_time=SECONDS.
 */
#include "frame.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

int			LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Whatever the sanitizers do not see for themselves. */
static void
require(bool truth)
{
	if (!truth)
		abort();
}

static volatile unsigned seen;

/* Reads every byte of a string, so that one outside its buffer is noticed. */
static void
touch(const void *bytes, size_t length)
{
	for (size_t i = 0; i < length; i++)
		seen += ((const uint8_t *) bytes)[i];
}

static void
read_reply(const uint8_t *body, size_t size, uint8_t kind)
{
	FrameReader reader;
	FrameError	error;
	FrameString string;
	const uint8_t *values;
	uint32_t	count,
				dimensions;
	bool		flag;

	frame_read(&reader, body, size);
	switch (kind)
	{
		case REPLY_VECTORS:
			values = frame_get_vectors(&reader, &count, &dimensions);
			if (values)
			{
				require((size_t) count * dimensions * 4 + 8 == size);
				touch(values, size - 8);
			}
			break;
		case REPLY_BOOLEAN:
			require(!frame_get_boolean(&reader, &flag) || size == 1);
			break;
		case REPLY_ERROR:
			if (frame_get_error(&reader, &error))
			{
				require(strlen(error.sqlstate) == 5);
				touch(error.message.bytes, error.message.length);
				touch(error.detail.bytes, error.detail.length);
				touch(error.hint.bytes, error.hint.length);
			}
			break;
		case REPLY_INTEGER:
			(void) frame_get_i64(&reader);
			require(!frame_done(&reader) || size == 8);
			break;
		default:
			do
			{
				string = frame_get_string(&reader);
				require((string.bytes == NULL) == reader.failed);
				if (string.bytes)
					touch(string.bytes, string.length);
			} while (!reader.failed && !frame_done(&reader));
			break;
	}
}

/* What is written reads back the same. */
static void
write_and_read(const uint8_t *data, size_t size)
{
	FrameWriter writer;
	FrameReader reader;
	FrameHeader header;
	FrameString string;
	size_t		half = size / 2;

	frame_begin(&writer, realloc);
	frame_put_u8(&writer, 7);
	frame_put_u32(&writer, 0);
	frame_put_string(&writer, (const char *) data, half);
	frame_put_string(&writer, (const char *) data + half, size - half);
	frame_patch_u32(&writer, FRAME_HEADER_SIZE + 1, 0xfedcba98u);
	require(frame_finish(&writer, REQUEST_EMBED, UINT64_MAX - size, INT64_MIN + (int64_t) size));

	require(frame_decode_header(writer.data, &header) == FRAME_OK);
	require(header.kind == REQUEST_EMBED && header.length == size + 13);
	require(header.request_id == UINT64_MAX - size && header.deadline == INT64_MIN + (int64_t) size);

	frame_read(&reader, writer.data + FRAME_HEADER_SIZE, header.length);
	require(frame_get_u8(&reader) == 7);
	require(frame_get_u32(&reader) == 0xfedcba98u);
	string = frame_get_string(&reader);
	require(string.length == half && (half == 0 || memcmp(string.bytes, data, half) == 0));
	string = frame_get_string(&reader);
	require(string.length == size - half &&
			(size == half || memcmp(string.bytes, data + half, size - half) == 0));
	require(frame_done(&reader));

	frame_put_string(&writer, "", FRAME_MAX_BODY + 1);
	require(!frame_finish(&writer, REQUEST_EMBED, 0, 0));
	free(writer.data);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	FrameHeader header;

	if (size >= FRAME_HEADER_SIZE)
		touch(frame_fault_text(frame_decode_header(data, &header)), 1);
	if (size >= 1)
		read_reply(data + 1, size - 1, data[0]);
	write_and_read(data, size);
	return 0;
}

#ifdef FRAME_FUZZ_MAIN
/* The value of "-name=value" among the arguments, or another one. */
static long
option(int argc, char **argv, const char *name, long otherwise)
{
	size_t		length = strlen(name);

	for (int i = 1; i < argc; i++)
		if (argv[i][0] == '-' && strncmp(argv[i] + 1, name, length) == 0 && argv[i][length + 1] == '=')
			return strtol(argv[i] + length + 2, NULL, 10);
	return otherwise;
}

/* Bytes that often look like a reply. */
static void
make_up(uint8_t *data, size_t size)
{
	/* Mostly small numbers, so that lengths and counts often fit. */
	for (size_t i = 0; i < size; i++)
		data[i] = (uint8_t) (rand() % 3 ? rand() % 4 * (rand() % 8) : rand());
	if (size > 0 && rand() % 4)
		data[0] = (uint8_t) (REPLY_VECTORS + rand() % 6);
	for (size_t i = 1; i < 6 && i < size && data[0] == REPLY_ERROR; i++)
		data[i] = (uint8_t) ('A' + rand() % 26);
}

int
main(int argc, char **argv)
{
	long		runs = option(argc, argv, "runs", -1);
	long		seed = option(argc, argv, "seed", 1);
	long		seconds = option(argc, argv, "max_total_time", 0);
	time_t		started = time(NULL);
	long		done = 0;

	srand((unsigned) seed);
	while (done != runs && (seconds == 0 || time(NULL) - started < seconds))
	{
		size_t		size = (size_t) rand() % 96;
		uint8_t    *data = malloc(size ? size : 1);	/* exactly sized, for the sanitizer */

		if (data == NULL)
			return 1;
		make_up(data, size);
		LLVMFuzzerTestOneInput(data, size);
		free(data);
		done++;
	}
	printf("%ld runs, seed %ld\n", done, seed);
	return 0;
}
#endif
