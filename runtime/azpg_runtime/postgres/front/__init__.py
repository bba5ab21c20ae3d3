"""The TLS front: a second port of an instance, where clients may speak TLS, which PostgreSQL itself cannot.

It understands the first bytes of a connection, decrypts if asked to, and passes everything on to
PostgreSQL's own port. `greeting` and `tls` do no I/O, `relay` moves the bytes, `__main__` is the process,
`control` starts and stops it.
"""
