"""Microsoft.CognitiveServices: accounts, their keys and model deployments. No model is behind them here."""
