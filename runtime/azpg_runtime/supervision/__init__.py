"""Services of an instance that must outlive a crash: each has a supervisor, a listening socket and a log.

`supervisor` is the process that starts a service again and again, `service` is what a service does for
it, `control` is how a command starts and stops both.
"""
