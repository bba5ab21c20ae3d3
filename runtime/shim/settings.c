/*
 * settings.c
 *		get_setting() and set_setting() of azure_local_ai.  The settings are the
 *		host's; who may change them is said by the grants of the extension's script.
 *		No transaction that may not write changes them: they are not the session's own.
 */
#include "postgres.h"

#include "fmgr.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"

#include "azure_local_ai.h"

PG_FUNCTION_INFO_V1(azure_local_ai_get_settings);
PG_FUNCTION_INFO_V1(azure_local_ai_get_setting);
PG_FUNCTION_INFO_V1(azure_local_ai_set_settings);
PG_FUNCTION_INFO_V1(azure_local_ai_set_setting);

Datum
azure_local_ai_get_settings(PG_FUNCTION_ARGS)
{
	ArrayType  *keys = PG_GETARG_ARRAYTYPE_P(0);
	Call		call;
	FrameWriter request;
	ArrayIterator iterator;
	Datum		key;
	bool		isnull;

	begin_call(&call, "get_setting", PG_GETARG_INT32(1));
	check_no_nulls(&call, "keys", keys);

	begin_request(&request);
	frame_put_u32(&request, (uint32) ArrayGetNItems(ARR_NDIM(keys), ARR_DIMS(keys)));
	iterator = array_create_iterator(keys, 0, NULL);
	while (array_iterate(iterator, &key, &isnull))
		put_element(&call, &request, key);
	return call_for_json(&call, &request, REQUEST_GET_SETTINGS);
}

/* NULL for a setting that the host knows and that has no value. */
Datum
azure_local_ai_get_setting(PG_FUNCTION_ARGS)
{
	text	   *key = PG_GETARG_TEXT_PP(0);
	Call		call;
	FrameWriter request;
	Jsonb	   *settings;
	JsonbValue *value;

	begin_call(&call, "get_setting", PG_GETARG_INT32(1));
	begin_request(&request);
	frame_put_u32(&request, 1);
	put_text(&call, &request, key);
	settings = DatumGetJsonbP(call_for_json(&call, &request, REQUEST_GET_SETTINGS));
	if (!JB_ROOT_IS_OBJECT(settings))
		channel_malformed(&call, "its settings are not a JSON object");

	value = getKeyJsonValueFromContainer(&settings->root, VARDATA_ANY(key),
										 (int) VARSIZE_ANY_EXHDR(key), NULL);
	if (value == NULL || value->type == jbvNull)
		PG_RETURN_NULL();
	if (value->type != jbvString)
		channel_malformed(&call, "a setting is not a JSON string");
	PG_RETURN_TEXT_P(cstring_to_text_with_len(value->val.string.val, value->val.string.len));
}

Datum
azure_local_ai_set_settings(PG_FUNCTION_ARGS)
{
	ArrayType  *keys = PG_GETARG_ARRAYTYPE_P(0);
	ArrayType  *values = PG_GETARG_ARRAYTYPE_P(1);
	Call		call;
	FrameWriter request;
	ArrayIterator next_key;
	ArrayIterator next_value;
	Datum		key;
	Datum		value;
	bool		isnull;

	PreventCommandIfReadOnly("azure_local_ai.set_setting()");
	begin_call(&call, "set_setting", PG_GETARG_INT32(2));
	check_same_length(&call, "keys", keys, "values", values);
	check_no_nulls(&call, "keys", keys);
	check_no_nulls(&call, "values", values);

	begin_request(&request);
	frame_put_u32(&request, (uint32) ArrayGetNItems(ARR_NDIM(keys), ARR_DIMS(keys)));
	next_key = array_create_iterator(keys, 0, NULL);
	next_value = array_create_iterator(values, 0, NULL);
	while (array_iterate(next_key, &key, &isnull) && array_iterate(next_value, &value, &isnull))
	{
		put_element(&call, &request, key);
		put_element(&call, &request, value);
	}
	call_for_done(&call, &request, REQUEST_SET_SETTINGS);
	PG_RETURN_VOID();
}

Datum
azure_local_ai_set_setting(PG_FUNCTION_ARGS)
{
	Call		call;
	FrameWriter request;

	PreventCommandIfReadOnly("azure_local_ai.set_setting()");
	begin_call(&call, "set_setting", PG_GETARG_INT32(2));
	begin_request(&request);
	frame_put_u32(&request, 1);
	put_text(&call, &request, PG_GETARG_TEXT_PP(0));
	put_text(&call, &request, PG_GETARG_TEXT_PP(1));
	call_for_done(&call, &request, REQUEST_SET_SETTINGS);
	PG_RETURN_VOID();
}
