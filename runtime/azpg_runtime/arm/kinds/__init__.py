"""Types of resources: `kind` is what all have in common and all that most need."""
