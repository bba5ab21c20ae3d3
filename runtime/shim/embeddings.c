/*
 * embeddings.c
 *		The three forms of azure_local_ai.create_embeddings(): texts in, float4[] out.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/memutils.h"
#include "utils/tuplestore.h"

#include "azure_local_ai.h"

#define FUNCTION "create_embeddings"

/* Rounds in flight: while the host works on one, the next is already there. */
#define WINDOW CHANNEL_WINDOW

/* A round takes no more than this, whatever batch_size says. */
#define ROUND_ROWS 4096
#define ROUND_BYTES ((size_t) 16 * 1024 * 1024)

/* As many vectors of the largest dimension as a reply can hold. */
#define ROUND_ROWS_BLIND ((int) ((FRAME_MAX_BODY - 8) / (4 * FRAME_MAX_DIMENSIONS)))

PG_FUNCTION_INFO_V1(azure_local_ai_embed_text);
PG_FUNCTION_INFO_V1(azure_local_ai_embed_array);
PG_FUNCTION_INFO_V1(azure_local_ai_embed_array_ids);

/* One request: a run of the array's elements, of which the NULLs are not sent. */
typedef struct Round
{
	uint64		request_id;		/* valid if texts > 0 */
	int			elements;
	int			texts;
} Round;

/* One call of an array form. */
typedef struct Batch
{
	Call		call;
	const text *model_uri;
	int64		batch_size;
	uint32		dimensions;		/* 0 until the first reply */

	ArrayIterator ahead;		/* the texts, for sending */
	Datum		next;			/* fetched from "ahead", not yet sent */
	int			position;		/* of that, from 1 */
	bool		has_next;

	ArrayIterator behind;		/* the texts again, for returning */
	ArrayIterator ids;			/* NULL in the form without them */
	ReturnSetInfo *result;
} Batch;

/* An array of NULL-free float4, to be filled. */
static ArrayType *
make_vector(uint32 dimensions)
{
	Size		size = ARR_OVERHEAD_NONULLS(1) + dimensions * sizeof(float4);
	ArrayType  *vector = palloc0(size);

	SET_VARSIZE(vector, size);
	vector->ndim = 1;
	vector->dataoffset = 0;
	vector->elemtype = FLOAT4OID;
	ARR_DIMS(vector)[0] = (int) dimensions;
	ARR_LBOUND(vector)[0] = 1;
	return vector;
}

static void
fill_vector(ArrayType *vector, const uint8 *values, uint32 dimensions)
{
#ifdef WORDS_BIGENDIAN
#error "vectors travel as little-endian float32"
#endif
	memcpy(ARR_DATA_PTR(vector), values, dimensions * sizeof(float4));
}

/* "position" is 0 for the scalar form, else that of the element. */
static void
check_length(size_t length, int position)
{
	char		where[32] = "input";

	if (length <= FRAME_MAX_TEXT)
		return;
	if (position > 0)
		snprintf(where, sizeof(where), "element %d of inputs", position);
	ereport(ERROR,
			(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
			 errmsg("azure_local_ai." FUNCTION ": %s is %zu bytes long; the limit is %zu",
					where, length, FRAME_MAX_TEXT),
			 errhint("Split it into parts and embed each of them.")));
}

/*
 * Puts a text.  In a database that is not in UTF-8 it may have grown on the way, so its
 * length is looked at once more.
 */
static void
put_input(const Call *call, FrameWriter *request, Datum input, int position)
{
	size_t		before = request->length;

	put_element(call, request, input);
	if (!request->failed)
		check_length(request->length - before - sizeof(uint32), position);
}

/*
 * Waits for a reply and returns its values: "texts" vectors, one after the other.
 */
static const uint8 *
receive_vectors(const Call *call, uint64 request_id, int texts, Reply **reply, uint32 *dimensions)
{
	FrameReader reader;
	uint32		count;
	const uint8 *values;

	*reply = channel_receive(call, request_id, REPLY_VECTORS, &reader);
	values = frame_get_vectors(&reader, &count, dimensions);
	if (values == NULL)
		channel_malformed(call, "its vectors do not fill its body");
	if (count != (uint32) texts)
		channel_malformed(call, "it has another number of vectors than there were texts");
	return values;
}

Datum
azure_local_ai_embed_text(PG_FUNCTION_ARGS)
{
	text	   *model_uri = PG_GETARG_TEXT_PP(0);
	text	   *input = PG_GETARG_TEXT_PP(1);
	Call		call;
	FrameWriter request;
	Reply	   *reply;
	const uint8 *values;
	uint32		dimensions;
	ArrayType  *vector;

	begin_call(&call, FUNCTION, PG_GETARG_INT32(2));
	check_length(VARSIZE_ANY_EXHDR(input), 0);

	begin_request(&request);
	put_text(&call, &request, model_uri);
	frame_put_u32(&request, 1);
	put_input(&call, &request, PointerGetDatum(input), 0);
	values = receive_vectors(&call, channel_send(&call, &request, REQUEST_EMBED), 1,
							 &reply, &dimensions);
	vector = make_vector(dimensions);
	fill_vector(vector, values, dimensions);
	channel_release(reply);

	pfree(request.data);
	PG_RETURN_ARRAYTYPE_P(vector);
}

/* All that can be wrong with the texts, before any of them is sent. */
static void
check_texts(ArrayType *inputs)
{
	ArrayIterator iterator = array_create_iterator(inputs, 0, NULL);
	Datum		element;
	bool		isnull;

	for (int position = 1; array_iterate(iterator, &element, &isnull); position++)
		if (!isnull)
			check_length(VARSIZE_ANY_EXHDR(DatumGetPointer(element)), position);
	array_free_iterator(iterator);
}

static int
round_limit(const Batch *batch)
{
	int64		limit = ROUND_ROWS_BLIND;

	if (batch->dimensions > 0)
		limit = Min(ROUND_ROWS, (int64) ((FRAME_MAX_BODY - 8) / (4 * (size_t) batch->dimensions)));
	return (int) Min(limit, batch->batch_size);
}

/* Sends the next round; false if no element is left. */
static bool
send_round(Batch *batch, Round *round)
{
	FrameWriter request;
	size_t		count_at;
	int			limit = round_limit(batch);

	memset(round, 0, sizeof(*round));
	begin_request(&request);
	put_text(&batch->call, &request, batch->model_uri);
	count_at = request.length;
	frame_put_u32(&request, 0);

	while (round->texts < limit)
	{
		if (!batch->has_next)
		{
			bool		isnull;

			if (!array_iterate(batch->ahead, &batch->next, &isnull))
				break;
			batch->position++;
			if (isnull)
			{
				round->elements++;
				continue;
			}
			batch->has_next = true;
		}
		if (round->texts > 0 &&
			request.length + VARSIZE_ANY_EXHDR(DatumGetPointer(batch->next)) > ROUND_BYTES)
			break;
		put_input(&batch->call, &request, batch->next, batch->position);
		batch->has_next = false;
		round->elements++;
		round->texts++;
	}
	if (round->texts > 0)
	{
		frame_patch_u32(&request, count_at, (uint32) round->texts);
		round->request_id = channel_send(&batch->call, &request, REQUEST_EMBED);
	}
	return round->elements > 0;
}

/* Waits for a round's vectors and returns the rows of all its elements. */
static void
return_round(Batch *batch, const Round *round)
{
	Reply	   *reply = NULL;
	const uint8 *values = NULL;
	ArrayType  *vector = NULL;
	uint32		dimensions = 0;

	if (round->texts > 0)
	{
		values = receive_vectors(&batch->call, round->request_id, round->texts, &reply, &dimensions);
		if (batch->dimensions > 0 && dimensions != batch->dimensions)
			channel_malformed(&batch->call, "its vectors have another dimension than those before");
		batch->dimensions = dimensions;
		vector = make_vector(dimensions);
	}

	for (int i = 0; i < round->elements; i++)
	{
		Datum		row[2];
		bool		nulls[2] = {false, false};
		int			column = 0;
		Datum		element;
		bool		isnull = true;

		if (batch->ids && !array_iterate(batch->ids, &row[column], &nulls[column]))
			nulls[column] = true;	/* cannot be: the lengths were compared */
		column += batch->ids ? 1 : 0;

		(void) array_iterate(batch->behind, &element, &isnull);
		nulls[column] = isnull;
		row[column] = isnull ? (Datum) 0 : PointerGetDatum(vector);
		if (!isnull)
		{
			fill_vector(vector, values, dimensions);
			values += dimensions * sizeof(float4);
		}
		tuplestore_putvalues(batch->result->setResult, batch->result->setDesc, row, nulls);
	}
	if (reply)
		channel_release(reply);
}

/*
 * The array forms.  An array of several dimensions is taken element by element in
 * storage order, as unnest() does.  Each round's memory is given back after it, so a
 * long array is held once, and of its vectors no more than the rounds in flight.
 */
static Datum
embed_array(FunctionCallInfo fcinfo, ArrayType *ids, int64 batch_size, int timeout_ms)
{
	ArrayType  *inputs = PG_GETARG_ARRAYTYPE_P(1);
	Batch		batch = {.model_uri = PG_GETARG_TEXT_PP(0), .batch_size = batch_size};
	Round		rounds[WINDOW];
	int			first = 0;
	int			in_flight = 0;
	bool		more = true;
	MemoryContext round_context;
	MemoryContext old_context;

	begin_call(&batch.call, FUNCTION, timeout_ms);
	if (batch_size < 1)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("azure_local_ai." FUNCTION ": batch_size is %lld; it must be at least 1",
						(long long) batch_size)));
	if (ids)
		check_same_length(&batch.call, "ids", ids, "inputs", inputs);
	check_texts(inputs);

	InitMaterializedSRF(fcinfo, ids ? 0 : MAT_SRF_USE_EXPECTED_DESC);
	batch.result = (ReturnSetInfo *) fcinfo->resultinfo;
	batch.ahead = array_create_iterator(inputs, 0, NULL);
	batch.behind = array_create_iterator(inputs, 0, NULL);
	if (ids)
		batch.ids = array_create_iterator(ids, 0, NULL);

	round_context = AllocSetContextCreate(CurrentMemoryContext, "azure_local_ai round",
										  ALLOCSET_DEFAULT_SIZES);
	old_context = MemoryContextSwitchTo(round_context);
	for (;;)
	{
		while (more && in_flight < WINDOW)
		{
			more = send_round(&batch, &rounds[(first + in_flight) % WINDOW]);
			MemoryContextReset(round_context);
			in_flight += more ? 1 : 0;
		}
		if (in_flight == 0)
			break;
		return_round(&batch, &rounds[first]);
		MemoryContextReset(round_context);
		first = (first + 1) % WINDOW;
		in_flight--;
		CHECK_FOR_INTERRUPTS();
	}
	MemoryContextSwitchTo(old_context);
	MemoryContextDelete(round_context);
	return (Datum) 0;
}

Datum
azure_local_ai_embed_array(PG_FUNCTION_ARGS)
{
	return embed_array(fcinfo, NULL, PG_GETARG_INT64(2), PG_GETARG_INT32(3));
}

Datum
azure_local_ai_embed_array_ids(PG_FUNCTION_ARGS)
{
	return embed_array(fcinfo, PG_GETARG_ARRAYTYPE_P(2), PG_GETARG_INT64(3), PG_GETARG_INT32(4));
}
