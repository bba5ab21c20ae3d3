"""Who calls the ARM twin: a directory of identities, the tokens they get, and how programs reach all of it.

`identities` is the directory, `tokens` issues, `login` answers the SDK's requests for tokens, and `proxy`
leads programs that know nothing of the twin to it.
"""
