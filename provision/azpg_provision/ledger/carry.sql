-- From version 1 to 2. What belongs to a column is carried over with its triggers: azpg_provision.ledger.tables.carry.
ALTER TABLE azpg.columns ADD COLUMN secret text NOT NULL
    DEFAULT pg_catalog.concat(pg_catalog.gen_random_uuid(), pg_catalog.gen_random_uuid());
ALTER TABLE azpg.columns ADD COLUMN reads name[], ADD COLUMN keys name[], ADD COLUMN applied text, ADD COLUMN calls text;
CREATE TABLE azpg.marks ();
COMMENT ON SCHEMA azpg IS 'azpg 2: ownership, per-row state, failures and queues of vectorized columns';
