"""Pulumi with no cloud: the resource types of azure-native, performed against the ARM twin.

::

    __main__.py   the provider's process, which the Pulumi command line starts
    provider.py   Pulumi's resource provider protocol (gRPC)
    functions.py  functions such as listAccountKeys
    kinds.toml    resource types: where they live in ARM, and which inputs replace them, each with its source
    kind.py       what a type's inputs are in ARM, and back; pure functions
    arm.py        Azure Resource Manager, by azure-core
    journal.py    what is being created, so that a lost answer does not become a second resource
    values.py     protobuf values
    workspace.py  the folder in which `azpg pulumi` runs the unmodified program
"""
