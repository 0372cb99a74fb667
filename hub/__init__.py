"""The core: skills, calls, routing, providers and the store; it knows no wire protocol and none of the folders above it.

A skill's author imports from :mod:`hub.skill`, :mod:`hub.context` and :mod:`hub.errors`, a provider's from
:mod:`hub.providers.base` and :mod:`hub.chat`, a strategy's from :mod:`hub.routing.strategy`.
"""
