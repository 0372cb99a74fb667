"""Coding agents on this machine: which are installed, and how they are driven over the Agent Client Protocol (JSON-RPC on stdio)."""
