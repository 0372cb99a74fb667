"""The one place where SQLModel, SQLAlchemy and alembic come in: at first use, in a thread of the store.

They cost nearly a second of CPU to import (performance.md 2.10), and a hub that only serves needs none of them.
"""

from __future__ import annotations


def session():
    """:mod:`hub.store.session`."""
    from hub.store import session as module  # noqa: PLC0415 - deferring is what this module is for

    return module


def management():
    """:mod:`hub.store.management`."""
    from hub.store import management as module  # noqa: PLC0415 - deferring is what this module is for

    return module


def reports():
    """:mod:`hub.store.reports`."""
    from hub.store import reports as module  # noqa: PLC0415 - deferring is what this module is for

    return module


def migration():
    """:mod:`hub.store.migration`."""
    from hub.store import migration as module  # noqa: PLC0415 - deferring is what this module is for

    return module


def archive():
    """:mod:`hub.store.archive`."""
    from hub.store import archive as module  # noqa: PLC0415 - deferring is what this module is for

    return module


def scratch():
    """:mod:`hub.store.scratch`."""
    from hub.store import scratch as module  # noqa: PLC0415 - deferring is what this module is for

    return module


def restoring():
    """:mod:`hub.store.restoring`."""
    from hub.store import restoring as module  # noqa: PLC0415 - deferring is what this module is for

    return module
