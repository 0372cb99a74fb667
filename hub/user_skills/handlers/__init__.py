"""What an executable skill may do: one module a kind, each with one object that is a :class:`hub.user_skills.handler.Handler`."""
