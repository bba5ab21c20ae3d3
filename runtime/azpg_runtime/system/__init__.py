"""The ground floor: locks, ports and logs, which everything above may use."""
