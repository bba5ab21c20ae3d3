"""Azure Resource Manager on 127.0.0.1: the HTTPS service that the Azure SDK and Pulumi talk to offline.

`twin` starts and stops it from outside. Inside its process, `app` takes a request, `router` finds the
resource type it is for, and that answers from `state`; what takes time is done by `operations`.
"""
