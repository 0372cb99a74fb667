"""Logins of this hub's principals at upstream MCP servers: the OAuth client (MCP authorization, revision 2026-07-28)."""
