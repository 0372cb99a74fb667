"""Batches: requests of a JSONL file, worked off beside interactive traffic, each answered once whatever happens to the process."""
