"""The migrations of the store, run by :mod:`hub.store.migration`."""
