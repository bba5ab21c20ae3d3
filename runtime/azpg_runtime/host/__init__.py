"""The model host: one process per instance that holds the models and answers the backends' shim."""
