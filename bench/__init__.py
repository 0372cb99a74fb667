"""Measurements: CPU per request, and the ratio to a bare ASGI app of the same run. ``make bench`` prints them."""
