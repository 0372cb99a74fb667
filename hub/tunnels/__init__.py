"""Tunnels: programs of others, installed by the owner, that make the hub reachable from outside while they run."""
