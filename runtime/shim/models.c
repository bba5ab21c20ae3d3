/*
 * models.c
 *		The model_* functions of azure_local_ai: what the host has registered and
 *		loaded.  The registry is the host's; nothing is kept in the database, and yet
 *		a transaction that may not write does not change it.
 */
#include "postgres.h"

#include "fmgr.h"
#include "miscadmin.h"

#include "azure_local_ai.h"

PG_FUNCTION_INFO_V1(azure_local_ai_model_register);
PG_FUNCTION_INFO_V1(azure_local_ai_model_unregister);
PG_FUNCTION_INFO_V1(azure_local_ai_model_unload);
PG_FUNCTION_INFO_V1(azure_local_ai_model_loaded);
PG_FUNCTION_INFO_V1(azure_local_ai_model_metadata);

/* A request that names a model and says no more. */
static void
begin_model_request(const Call *call, FrameWriter *request, const text *model_uri)
{
	begin_request(request);
	put_text(call, request, model_uri);
}

static void
refuse_null(const char *function, const char *argument)
{
	ereport(ERROR,
			(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
			 errmsg("azure_local_ai.%s: %s is NULL", function, argument)));
}

/* Not strict, because tokenizer_path may be NULL: the host then looks beside the model. */
Datum
azure_local_ai_model_register(PG_FUNCTION_ARGS)
{
	static const char *const names[] = {"model_uri", "model_path", NULL, "timeout_ms"};
	Call		call;
	FrameWriter request;
	FrameReader reader;
	Reply	   *reply;
	int64		id;

	for (int i = 0; i < (int) lengthof(names); i++)
		if (names[i] && PG_ARGISNULL(i))
			refuse_null("model_register", names[i]);
	PreventCommandIfReadOnly("azure_local_ai.model_register()");
	begin_call(&call, "model_register", PG_GETARG_INT32(3));

	begin_model_request(&call, &request, PG_GETARG_TEXT_PP(0));
	put_text(&call, &request, PG_GETARG_TEXT_PP(1));
	frame_put_u8(&request, PG_ARGISNULL(2) ? 0 : 1);
	if (!PG_ARGISNULL(2))
		put_text(&call, &request, PG_GETARG_TEXT_PP(2));

	reply = channel_receive(&call, channel_send(&call, &request, REQUEST_REGISTER),
							REPLY_INTEGER, &reader);
	id = frame_get_i64(&reader);
	if (!frame_done(&reader))
		channel_malformed(&call, "its number does not fill its body");
	channel_release(reply);
	PG_RETURN_INT64(id);
}

static Datum
act_on_model(FunctionCallInfo fcinfo, const char *function, FrameKind kind)
{
	Call		call;
	FrameWriter request;

	PreventCommandIfReadOnly(psprintf("azure_local_ai.%s()", function));
	begin_call(&call, function, PG_GETARG_INT32(1));
	begin_model_request(&call, &request, PG_GETARG_TEXT_PP(0));
	call_for_done(&call, &request, kind);
	PG_RETURN_VOID();
}

Datum
azure_local_ai_model_unregister(PG_FUNCTION_ARGS)
{
	return act_on_model(fcinfo, "model_unregister", REQUEST_UNREGISTER);
}

Datum
azure_local_ai_model_unload(PG_FUNCTION_ARGS)
{
	return act_on_model(fcinfo, "model_unload", REQUEST_UNLOAD);
}

Datum
azure_local_ai_model_loaded(PG_FUNCTION_ARGS)
{
	Call		call;
	FrameWriter request;
	FrameReader reader;
	Reply	   *reply;
	bool		loaded;

	begin_call(&call, "model_loaded", PG_GETARG_INT32(1));
	begin_model_request(&call, &request, PG_GETARG_TEXT_PP(0));
	reply = channel_receive(&call, channel_send(&call, &request, REQUEST_LOADED),
							REPLY_BOOLEAN, &reader);
	if (!frame_get_boolean(&reader, &loaded))
		channel_malformed(&call, "its flag is neither 0 nor 1");
	channel_release(reply);
	PG_RETURN_BOOL(loaded);
}

Datum
azure_local_ai_model_metadata(PG_FUNCTION_ARGS)
{
	Call		call;
	FrameWriter request;

	begin_call(&call, "model_metadata", DEFAULT_TIMEOUT_MS);
	begin_model_request(&call, &request, PG_GETARG_TEXT_PP(0));
	return call_for_json(&call, &request, REQUEST_METADATA);
}
