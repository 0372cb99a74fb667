"""The version of this hub, in one place."""

VERSION = "0.1.0"
