"""Requests that are the same: answered before, meant the same, sent twice, or under way at once."""
