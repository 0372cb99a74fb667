"""Pointing client programs at this hub: their configuration files, edited in place, and the way back."""
