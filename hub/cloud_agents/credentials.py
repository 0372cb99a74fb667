"""Credentials for cloud agents: sealed in the store, shown masked, sent to the address they were stored with and to no other (SEC-14)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hub.cloud_agents.records import Access, StoredCredential
from hub.errors import BadRequest, NotFound
from hub.outbound.address import parse_url
from hub.secret import Secret

if TYPE_CHECKING:
    from hub.cloud_agents.records import CloudTask
    from hub.store import Store
    from hub.store.documents import Document

_MOST = 100


class Credentials:
    """Every credential, the oldest first."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._stored = store.collection("agent-credential", what="credential", prefix="acr_", body=StoredCredential)

    def all(self) -> list[Document[StoredCredential]]:
        """Every credential."""
        return self._stored.all()

    def secret(self, one: Document[StoredCredential]) -> Secret:
        """The secret of a credential. Raises Unreadable when it was sealed with another key."""
        return self._store.unseal(one.body.sealed, _place(one.name)) if one.body.sealed else Secret("")

    async def put(
        self, provider: str, label: str, secret: str, *, base_url: str = "", allow_private: bool = False, active: bool = True
    ) -> Document[StoredCredential]:
        """Store a credential; one of the same agent and label is replaced as a whole, its address with it.

        Raises BadRequest for an address that is none, and for too many.
        """
        if base_url:
            parse_url(base_url, field="baseUrl")
        name = f"{provider}/{label}"
        sealed = self._store.seal(secret, _place(name)) if secret else ""
        body = StoredCredential(
            provider_id=provider, label=label, sealed=sealed, base_url=base_url.rstrip("/"), allow_private=allow_private, active=active
        )
        found = self._stored.find(name)
        if found is not None:
            return await self._stored.update(found.id, body)
        if len(self._stored.all()) >= _MOST:
            raise BadRequest(f"there are {_MOST} credentials already, the most there may be; remove some")
        return await self._stored.create(name, body)

    async def remove(self, credential_id: str) -> None:
        """Remove a credential. Raises NotFound."""
        await self._stored.delete(credential_id)

    def choose(self, provider: str, *, credential_id: str = "", url: str = "") -> Document[StoredCredential] | None:
        """The credential for a new task: the one that is named, else the first active one of the agent; with ``url`` only one of that
        address. Raises NotFound for an id that is none."""
        if credential_id:
            found = self._stored.get(credential_id)
            if found.body.provider_id != provider:
                raise NotFound(f"the credential {credential_id!r} is for {found.body.provider_id}", field="credentialId")
            return found
        fitting = (one for one in self._stored.all() if one.body.active and one.body.provider_id == provider)
        return next((one for one in fitting if not url or one.body.base_url == url.rstrip("/")), None)

    def access(self, task: CloudTask) -> Access:
        """How the agent of a task is reached. Raises NotFound when its credential was removed."""
        url = str(task.source.get("agentUrl") or "")
        if not task.credential_id:
            return Access(secret=Secret(""), base_url=url)
        found = self._stored.peek(task.credential_id)
        if found is None:
            raise NotFound("the credential of this task was removed; the task can no longer be followed")
        body = found.body
        if url and url.rstrip("/") != body.base_url:
            return Access(secret=Secret(""), base_url=url)
        return Access(secret=self.secret(found), base_url=body.base_url, private=body.allow_private)


def _place(name: str) -> str:
    return f"agent-credential:{name}:secret"
