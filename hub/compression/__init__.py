"""Prompt compression: what goes to a model made shorter without a change of what it means (docs/compression.md)."""
