-- Schema azpg: what azpg made in this database, what it has embedded, and what waits.
-- Version 1. Made by `azpg apply`, in one transaction with the note of its version.

CREATE SCHEMA azpg;
COMMENT ON SCHEMA azpg IS 'azpg 1: ownership, per-row state, failures and queues of vectorized columns';

-- What azpg made, so that nothing else is ever replaced. `definition` is what it was made from.
CREATE TABLE azpg.owned (
    kind        text        NOT NULL,
    name        text        NOT NULL,
    definition  jsonb       NOT NULL,
    made_at     timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (kind, name)
);

-- The vectorized columns. `definition` is a VectorColumn without its id; `position` is the key up to which
-- the present pass of `azpg vectorize` has handed out work, NULL before its first and after its last row.
CREATE TABLE azpg.columns (
    id          integer     PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
    relation    regclass    NOT NULL,
    attribute   name        NOT NULL,
    definition  jsonb       NOT NULL,
    pass        bigint      NOT NULL DEFAULT 0,
    position    text[],
    UNIQUE (relation, attribute)
);

-- Key ranges (low, high] that a worker is at. One that is not renewed before `expires` is anybody's.
CREATE TABLE azpg.claims (
    column_id   integer     NOT NULL REFERENCES azpg.columns ON DELETE CASCADE,
    id          bigint      GENERATED ALWAYS AS IDENTITY,
    low         text[],
    high        text[]      NOT NULL,
    worker      uuid        NOT NULL,
    expires     timestamptz NOT NULL,
    attempts    integer     NOT NULL DEFAULT 1,
    PRIMARY KEY (column_id, id)
);

-- For each column with id N, made by azpg_provision.ledger:
--
--   azpg.state_N (<keys>, hash bytea NOT NULL, failure text, sqlstate text, attempts integer, at timestamptz)
--       hash is sha256(fingerprint || prefix || text); `failure` is set where that text got no embedding.
--   azpg.queue_N (<keys>, since timestamptz, worker uuid, expires timestamptz, attempts integer,
--                 not_before timestamptz)
--       the keys of rows that changed, for sync = queue.
