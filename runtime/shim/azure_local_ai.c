/*
 * azure_local_ai.c
 *		The library behind CREATE EXTENSION azure_local_ai: its entry point, and what
 *		its SQL functions share; see azure_local_ai.h.
 */
#include "postgres.h"

#include "fmgr.h"
#include "mb/pg_wchar.h"
#include "utils/array.h"
#include "utils/fmgrprotos.h"

#include "azure_local_ai.h"
#include "host_error.h"

#ifdef PG_MODULE_MAGIC_EXT
PG_MODULE_MAGIC_EXT(.name = "azure_local_ai",.version = "1.0.0");
#else
PG_MODULE_MAGIC;
#endif

extern PGDLLEXPORT void _PG_init(void);

void
_PG_init(void)
{
	channel_init();
}

void
begin_call(Call *call, const char *function, int timeout_ms)
{
	if (timeout_ms < 1)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("azure_local_ai.%s: timeout_ms is %d; it must be at least 1",
						function, timeout_ms)));
	channel_begin(call, function, timeout_ms);
}

/* palloc() raises where realloc() would return NULL. */
static void *
grow(void *old, size_t size)
{
	return old ? repalloc(old, size) : palloc(size);
}

void
begin_request(FrameWriter *writer)
{
	frame_begin(writer, grow);
}

/*
 * Converts a text of the database to UTF-8, which in SQL_ASCII may be no text at all.
 * PostgreSQL raises what is wrong with it; here it gets the call's name in front.
 */
static char *
to_utf8(const Call *call, const char *bytes, size_t length)
{
	MemoryContext context = CurrentMemoryContext;
	char	   *volatile utf8 = NULL;

	/* The error goes on, so no subtransaction is needed. */
	PG_TRY();
	{
		utf8 = pg_server_to_any(bytes, (int) length, PG_UTF8);
	}
	PG_CATCH();
	{
		ErrorData  *error;

		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		FlushErrorState();
		error->message = psprintf("azure_local_ai.%s: %s", call->function, error->message);
		ReThrowError(error);
	}
	PG_END_TRY();
	return utf8;
}

void
put_text(const Call *call, FrameWriter *writer, const text *value)
{
	const char *bytes = VARDATA_ANY(value);
	size_t		length = VARSIZE_ANY_EXHDR(value);
	char	   *utf8;

	if (GetDatabaseEncoding() == PG_UTF8)
	{
		frame_put_string(writer, bytes, length);
		return;
	}
	utf8 = to_utf8(call, bytes, length);
	if (utf8 == bytes)
		frame_put_string(writer, bytes, length);
	else
	{
		frame_put_string(writer, utf8, strlen(utf8));
		pfree(utf8);
	}
}

/* An element of a text array is never toasted; at most its header is a short one. */
void
put_element(const Call *call, FrameWriter *writer, Datum element)
{
	put_text(call, writer, (const text *) DatumGetPointer(element));
}

void
check_same_length(const Call *call, const char *name, ArrayType *array,
				  const char *other_name, ArrayType *other)
{
	int			length = ArrayGetNItems(ARR_NDIM(array), ARR_DIMS(array));
	int			other_length = ArrayGetNItems(ARR_NDIM(other), ARR_DIMS(other));

	if (length != other_length)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("azure_local_ai.%s: %s has %d elements and %s has %d",
						call->function, name, length, other_name, other_length),
				 errhint("Each element of %s belongs to the element of %s at the same position.",
						 name, other_name)));
}

void
check_no_nulls(const Call *call, const char *name, ArrayType *array)
{
	if (array_contains_nulls(array))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("azure_local_ai.%s: %s has an element that is NULL", call->function, name)));
}

void
call_for_done(const Call *call, FrameWriter *writer, FrameKind kind)
{
	FrameReader reader;
	Reply	   *reply = channel_receive(call, channel_send(call, writer, kind), REPLY_DONE, &reader);

	if (!frame_done(&reader))
		channel_malformed(call, "it has a body");
	channel_release(reply);
}

/* Makes jsonb of what the host sent. */
static Datum
parse_json(const Call *call, char *json)
{
	MemoryContext context = CurrentMemoryContext;
	volatile Datum result = (Datum) 0;

	/* Only memory is at stake, so no subtransaction is needed to go on after the error. */
	PG_TRY();
	{
		result = DirectFunctionCall1(jsonb_in, CStringGetDatum(json));
	}
	PG_CATCH();
	{
		if (ERRCODE_TO_CATEGORY(geterrcode()) != ERRCODE_DATA_EXCEPTION)
			PG_RE_THROW();
		MemoryContextSwitchTo(context);
		FlushErrorState();
		channel_malformed(call, "its text is not JSON");
	}
	PG_END_TRY();
	return result;
}

Datum
call_for_json(const Call *call, FrameWriter *writer, FrameKind kind)
{
	FrameReader reader;
	Reply	   *reply = channel_receive(call, channel_send(call, writer, kind), REPLY_TEXT, &reader);
	FrameString string = frame_get_string(&reader);
	char	   *json;

	if (!frame_done(&reader))
		channel_malformed(call, "its text does not fill its body");
	json = host_text(string);
	if (json == NULL)
		channel_malformed(call, "its text is not UTF-8");
	channel_release(reply);
	return parse_json(call, json);
}
