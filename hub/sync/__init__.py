"""Two hubs that keep the same set-up: what is sent, how it is sealed, and what becomes of differences (docs/sync.md)."""
