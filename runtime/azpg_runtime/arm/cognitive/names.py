"""How Azure calls what is of Microsoft.CognitiveServices."""

NAMESPACE = "Microsoft.CognitiveServices"
ACCOUNTS = f"{NAMESPACE}/accounts"
DELETED = f"{NAMESPACE}/locations/resourceGroups/deletedAccounts"
