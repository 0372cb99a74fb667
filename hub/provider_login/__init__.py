"""Accounts at providers that somebody logged in to (OAuth), each with the owner's own client there (D5)."""
