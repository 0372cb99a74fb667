"""The owner's login at the dashboard: password, second factor, sessions, and how tries are slowed down."""

from hub.login.sessions import Session, check_csrf

__all__ = ["Session", "check_csrf"]
