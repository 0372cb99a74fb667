"""A model string for a model at one provider, as addresses that name a provider want it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hub.errors import BadRequest, NotFound

if TYPE_CHECKING:
    from hub.call import Hub
    from hub.providers.catalog import ProviderRow


def pinned(hub: Hub, provider: str, model: str) -> str:
    """The model with the provider's prefix, which is added where it is missing.

    ``provider`` is an id, an alias, or a prefix that an owner gave to an endpoint. Raises NotFound for an unknown one, and
    BadRequest for a model with another provider's prefix, unless the provider has a model of that very name.
    """
    row = provider_row(hub, provider)
    prefix, slash, _ = model.partition("/")
    if slash and prefix in ({provider} if row is None else {provider, row.id, row.alias}):
        return model
    if slash and row is not None and _foreign(hub, row, prefix, model):
        raise BadRequest(f"model: {model[:80]!r} is not of {provider}; leave out its prefix, or call {prefix}'s address", field="model")
    return f"{provider}/{model}"


def provider_row(hub: Hub, provider: str) -> ProviderRow | None:
    """The catalogue's row of a provider; None for an endpoint of the owner's own. Raises NotFound."""
    row = hub.catalog.find(provider)
    if row is None and provider not in hub.directory.prefixes():
        raise NotFound(f"no provider {provider[:80]!r}; GET /api/models/catalog lists them", field="provider")
    return row


def _foreign(hub: Hub, row: ProviderRow, prefix: str, model: str) -> bool:
    """Whether a prefix is another provider's, and not the start of a name that this one has for a model."""
    if row.passthrough_models or row.model(model) is not None:
        return False
    return hub.catalog.find(prefix) is not None or prefix in hub.directory.prefixes()
