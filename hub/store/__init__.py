"""The store: keys, connections, usage, decisions, audit, tasks and settings on SQLite or PostgreSQL (D15)."""

from hub.store.store import Store

__all__ = ["Store"]
