"""Other MCP servers behind this hub: what is known of them, their sessions, and their tools as skills of our registry."""
