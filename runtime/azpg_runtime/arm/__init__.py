"""The Azure Resource Manager twin: the control plane of Azure on this machine."""
