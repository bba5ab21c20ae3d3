/*
 * azure_local_ai--1.0.0.sql
 *
 * The SQL face of the extension: exactly the twelve documented functions. \df
 * azure_local_ai.* prints their names, result types, argument names and defaults.
 */
\echo Use "CREATE EXTENSION azure_local_ai" to load this file. \quit

-- Not "schema = ..." in the control file, which would leave the schema behind after DROP EXTENSION.
CREATE SCHEMA azure_local_ai;
GRANT USAGE ON SCHEMA azure_local_ai TO PUBLIC;

-- Embeddings. IMMUTABLE: they are made for generated columns and index expressions, and a model's name is
-- bound to the same weights for good. A NULL text has a NULL embedding.

CREATE FUNCTION azure_local_ai.create_embeddings(
    model_uri text, input text, timeout_ms integer DEFAULT 3600000)
RETURNS real[]
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 10000
AS 'MODULE_PATHNAME', 'azure_local_ai_embed_text';

CREATE FUNCTION azure_local_ai.create_embeddings(
    model_uri text, inputs text[], batch_size bigint DEFAULT 128, timeout_ms integer DEFAULT 3600000)
RETURNS TABLE(embedding real[])
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 10000
AS 'MODULE_PATHNAME', 'azure_local_ai_embed_array';

CREATE FUNCTION azure_local_ai.create_embeddings(
    model_uri text, inputs text[], ids anyarray, batch_size bigint DEFAULT 128,
    timeout_ms integer DEFAULT 3600000)
RETURNS TABLE(id anyelement, embedding real[])
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 10000
AS 'MODULE_PATHNAME', 'azure_local_ai_embed_array_ids';

COMMENT ON FUNCTION azure_local_ai.create_embeddings(text, text, integer) IS
    'Embedding of a text';
COMMENT ON FUNCTION azure_local_ai.create_embeddings(text, text[], bigint, integer) IS
    'Embeddings of texts, one row for each in their order';
COMMENT ON FUNCTION azure_local_ai.create_embeddings(text, text[], anyarray, bigint, integer) IS
    'Embeddings of texts, one row for each in their order, with the id at the same position';

-- Models.

CREATE FUNCTION azure_local_ai.model_register(
    model_uri text, model_path text, tokenizer_path text DEFAULT NULL::text,
    timeout_ms integer DEFAULT 3600000)
RETURNS bigint
LANGUAGE C VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'azure_local_ai_model_register';

CREATE FUNCTION azure_local_ai.model_unregister(model_uri text, timeout_ms integer DEFAULT 3600000)
RETURNS void
LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'azure_local_ai_model_unregister';

CREATE FUNCTION azure_local_ai.model_unload(model_uri text, timeout_ms integer DEFAULT 3600000)
RETURNS void
LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'azure_local_ai_model_unload';

CREATE FUNCTION azure_local_ai.model_loaded(model_uri text, timeout_ms integer DEFAULT 3600000)
RETURNS boolean
LANGUAGE C VOLATILE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'azure_local_ai_model_loaded';

CREATE FUNCTION azure_local_ai.model_metadata(model_uri text)
RETURNS jsonb
LANGUAGE C VOLATILE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'azure_local_ai_model_metadata';

COMMENT ON FUNCTION azure_local_ai.model_register(text, text, text, integer) IS
    'Registers a model under a URI and returns the registration''s id';
COMMENT ON FUNCTION azure_local_ai.model_unregister(text, integer) IS
    'Ends the registration of a model';
COMMENT ON FUNCTION azure_local_ai.model_unload(text, integer) IS
    'Takes a model out of memory; the next use loads it again';
COMMENT ON FUNCTION azure_local_ai.model_loaded(text, integer) IS
    'Whether a model is in memory';
COMMENT ON FUNCTION azure_local_ai.model_metadata(text) IS
    'What is known of a registered model';

-- Settings.

CREATE FUNCTION azure_local_ai.get_setting(
    keys text[] DEFAULT ARRAY[]::text[], timeout_ms integer DEFAULT 3600000)
RETURNS jsonb
LANGUAGE C VOLATILE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'azure_local_ai_get_settings';

CREATE FUNCTION azure_local_ai.get_setting(key text, timeout_ms integer DEFAULT 3600000)
RETURNS text
LANGUAGE C VOLATILE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'azure_local_ai_get_setting';

CREATE FUNCTION azure_local_ai.set_setting(
    keys text[], "values" text[], timeout_ms integer DEFAULT 3600000)
RETURNS void
LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'azure_local_ai_set_settings';

CREATE FUNCTION azure_local_ai.set_setting(key text, value text, timeout_ms integer DEFAULT 3600000)
RETURNS void
LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'azure_local_ai_set_setting';

COMMENT ON FUNCTION azure_local_ai.get_setting(text[], integer) IS
    'The settings of these names, or all of them';
COMMENT ON FUNCTION azure_local_ai.get_setting(text, integer) IS
    'The value of a setting';
COMMENT ON FUNCTION azure_local_ai.set_setting(text[], text[], integer) IS
    'Changes several settings at once';
COMMENT ON FUNCTION azure_local_ai.set_setting(text, text, integer) IS
    'Changes a setting';

-- Whoever may use the database may embed and look; what changes the host for everybody is for its
-- administrators. A server that azpg did not start may lack their roles.

REVOKE ALL ON FUNCTION
    azure_local_ai.model_register(text, text, text, integer),
    azure_local_ai.model_unregister(text, integer),
    azure_local_ai.model_unload(text, integer),
    azure_local_ai.set_setting(text[], text[], integer),
    azure_local_ai.set_setting(text, text, integer)
FROM PUBLIC;

DO $grants$
BEGIN
    IF EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = 'azure_pg_admin') THEN
        GRANT EXECUTE ON FUNCTION
            azure_local_ai.model_register(text, text, text, integer),
            azure_local_ai.model_unregister(text, integer),
            azure_local_ai.model_unload(text, integer),
            azure_local_ai.set_setting(text[], text[], integer),
            azure_local_ai.set_setting(text, text, integer)
        TO azure_pg_admin;
    END IF;
    IF EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = 'azure_local_ai_setting_manager') THEN
        GRANT EXECUTE ON FUNCTION
            azure_local_ai.set_setting(text[], text[], integer),
            azure_local_ai.set_setting(text, text, integer)
        TO azure_local_ai_setting_manager;
    END IF;
END
$grants$;
