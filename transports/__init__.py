"""The ways in. A module here with ``routes(hub)`` is an HTTP door, one with ``serve(hub)`` runs by itself; both are found by folder."""
