"""Policies for stacks with Flexible Servers; they need nothing of azpg, and hold for other programs, too."""
