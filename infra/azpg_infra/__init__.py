"""The Pulumi program: a Flexible Server with in-database AI, on Azure or against the ARM twin."""
