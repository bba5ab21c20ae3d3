"""From an empty database to tables that are vectorized, indexed and in step with their texts.

::

    spec/       what a person wants: azpg.yaml, read, checked, explained where it is wrong
    target/     where it is wanted: the twin, a DSN, an Azure server; how to connect and what it offers
    live/       what a server has now, read from its catalogues
    plan/       the difference, as a list of changes; pure functions, no connection
    apply/      the changes, done one by one, in order
    ledger/     schema `azpg` in each database: what azpg made, what it has embedded, what waits
    column      one vectorized column, the type that plan, sync, vectorize and index all speak of
    sync/       how a column keeps up with its rows: generated, trigger, queue
    vectorize/  rows without an up-to-date embedding get one, in batches that survive a kill
    index/      building, looking through and judging approximate indexes
    preflight/  whether a server can do what the spec asks, before anything is touched
    commands/   plan, apply, drift, vectorize, worker, index, search, preflight

Dependencies point from the bottom of this list to its top, but for `commands`, which may use all.
"""
