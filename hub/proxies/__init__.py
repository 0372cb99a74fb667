"""Proxies for what goes out: a pool of them, who uses which, and how they do."""
