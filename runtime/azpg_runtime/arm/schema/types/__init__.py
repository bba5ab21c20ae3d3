"""Models of the resource types around servers and accounts, as the REST specifications have them."""
