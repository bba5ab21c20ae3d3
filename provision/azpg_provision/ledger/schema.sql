-- Schema azpg: what azpg made in this database, what it has embedded, and what waits.
-- Version 2. Made by `azpg apply`, in one transaction with the note of its version.

CREATE SCHEMA azpg;
-- Its first two words are how azpg knows its own, and of which version it is.
COMMENT ON SCHEMA azpg IS 'azpg 2: ownership, per-row state, failures and queues of vectorized columns';

-- What azpg made, so that nothing else is ever replaced. `definition` is {"of": what it was made from, "names",
-- "identity": PostgreSQL's own numbers of it}; see azpg_provision.ledger.ownership.
CREATE TABLE azpg.owned (
    kind        text        NOT NULL,
    name        text        NOT NULL,
    definition  jsonb       NOT NULL,
    made_at     timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (kind, name)
);

-- The vectorized columns. `definition` is a VectorColumn without its id; `position` is the key up to which
-- the present pass of `azpg vectorize` has handed out work, NULL before its first and after its last row. `secret`
-- is what a worker tells the column's triggers, which have its SHA-256 only. `applied` is what the table was when its
-- triggers were made, with the columns that it `reads` and its `keys`, and `calls` what its text depends on:
-- azpg_provision/ledger/applied.sql, as_applied.sql.
CREATE TABLE azpg.columns (
    id          integer     PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
    relation    regclass    NOT NULL,
    attribute   name        NOT NULL,
    definition  jsonb       NOT NULL,
    pass        bigint      NOT NULL DEFAULT 0,
    position    text[],
    reads       name[],
    keys        name[],
    applied     text,
    calls       text,
    secret      text        NOT NULL
                DEFAULT pg_catalog.concat(pg_catalog.gen_random_uuid(), pg_catalog.gen_random_uuid()),
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

-- Empty, but within a transaction: azpg_provision/sync/leave.sql.
CREATE TABLE azpg.marks ();

-- For each column with id N, made by azpg_provision.ledger.tables. A table's own names could be any, `hash` and
-- `at` too, so that the key's columns are key_1, key_2, … here (VectorColumn.own_keys), with the table's own
-- types and collations:
--
--   azpg.state_N (key_1, …, hash bytea NOT NULL, failure text, sqlstate text, attempts integer NOT NULL DEFAULT 1,
--                 at timestamptz NOT NULL DEFAULT now(), vector bytea, PRIMARY KEY (key_1, …))
--       hash is sha256(fingerprint || convert_to(prefix || text, 'UTF8')); `failure` is set where that text got
--       no embedding. `vector` is sha256(array_send(the vector::real[])), NULL if not known, as of rows that were
--       embedded before version 2: `azpg drift` and `azpg vectorize` see by it that somebody has replaced one.
--   azpg.queue_N (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, key_1, …,
--                 since timestamptz NOT NULL DEFAULT now(), not_before timestamptz NOT NULL DEFAULT now())
--       for sync = queue: each change of a row appends its key, so that writers have nothing here to meet at.
--       A worker deletes what it takes in the statement that embeds it: a crash puts it back, no lease is
--       needed. There for every column, empty for the others.
