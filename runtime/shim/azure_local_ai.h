/*
 * azure_local_ai.h
 *		What the SQL functions of azure_local_ai.so share: arguments on their way to a
 *		request, and replies on their way to a value.
 */
#ifndef AZPG_AZURE_LOCAL_AI_H
#define AZPG_AZURE_LOCAL_AI_H

#include "postgres.h"

#include "fmgr.h"
#include "utils/array.h"

#include "channel.h"
#include "frame.h"

/* For the one function that has no timeout argument; the default of all others. */
#define DEFAULT_TIMEOUT_MS 3600000

/* Checks timeout_ms and starts the call. */
extern void begin_call(Call *call, const char *function, int timeout_ms);

/* Starts a request in the current memory context. */
extern void begin_request(FrameWriter *writer);

/* Puts a text, or a text array's element, as UTF-8; raises in the call's name what is none. */
extern void put_text(const Call *call, FrameWriter *writer, const text *value);
extern void put_element(const Call *call, FrameWriter *writer, Datum element);

/* 22023 unless two arrays have as many elements as each other. */
extern void check_same_length(const Call *call, const char *name, ArrayType *array,
							  const char *other_name, ArrayType *other);

/* 22004 if an element is NULL. */
extern void check_no_nulls(const Call *call, const char *name, ArrayType *array);

/* Sends a request whose reply says nothing, and waits for it. */
extern void call_for_done(const Call *call, FrameWriter *writer, FrameKind kind);

/* Sends a request whose reply is a text that holds JSON; the result is jsonb. */
extern Datum call_for_json(const Call *call, FrameWriter *writer, FrameKind kind);

#endif							/* AZPG_AZURE_LOCAL_AI_H */
