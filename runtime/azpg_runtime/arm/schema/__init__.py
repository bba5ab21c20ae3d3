"""What a request's body may hold: read from the Azure SDK's own models, or from types in `kinds`.

`fields` reads a model, `document` makes a validator of it, `types` holds the models of resource types
whose SDK is not needed otherwise.
"""
