"""Nodes that are virtual machines: user-mode Linux, a kernel that runs as processes of the host."""
