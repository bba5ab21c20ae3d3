"""A mixed load with faults in it, and what must hold afterwards, checked from outside: ``make chaos``.

`site`       the server, its models and its tables, in a home of its own
`load`       sessions that write, ask and search, each with a journal of what was acknowledged to it
`commands`   workers, `azpg vectorize` and `azpg apply`, as processes that may be killed
`faults`     what goes wrong, by a schedule that a seed decides
`lines`      a proxy whose connections can be cut
`invariants` what must hold in the end
`run`        one run of it all, and `__main__` its report
"""
