"""The only module that opens a socket to the world (D13). See :mod:`hub.outbound.base` for the interface."""
