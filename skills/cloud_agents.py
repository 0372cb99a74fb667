"""Cloud agent tasks: coding work handed to agents elsewhere, followed in the background, and the credentials for them."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, SecretStr, model_validator

from hub.cloud_agents.records import CloudTask, Status, StoredCredential
from hub.context import Context
from hub.errors import BadRequest
from hub.skill import Audit, CostClass, Mcp, Rest, skill
from hub.store.documents import Document
from hub.wire import Nothing, Wire, iso


class TaskSource(Wire):
    """What to work on: a repository for vendors, an agent and a folder for ``acp``, an address for ``a2a``."""

    repo_name: str = Field(default="", max_length=200, description="Repository as owner/name.")
    repo_url: str = Field(default="", max_length=2000, description="Its address.")
    branch: str = Field(default="", max_length=250, description="Branch to begin from.")
    agent: str = Field(default="", max_length=100, description="acp: id of the agent on this machine. a2a: name of a remote agent.")
    folder: str = Field(default="", max_length=4000, description="acp: its work folder, within HUBROUTE_ACP_FOLDERS.")
    model: str = Field(default="", max_length=200, description="acp: its model.")
    agent_url: str = Field(default="", max_length=2000, description="a2a: where the agent is; the address of a credential when left out.")
    metadata: dict[str, Any] = Field(default={}, max_length=50, description="a2a: metadata of the message, such as the skill.")

    @model_validator(mode="before")
    @classmethod
    def _other_spelling(cls, data: Any) -> Any:
        """The seed's examples write ``{repo, branch}``, with a name or an address."""
        if isinstance(data, dict) and isinstance(data.get("repo"), str):  # pyright: ignore[reportUnknownMemberType] - client JSON
            fields: dict[str, Any] = dict(data)  # pyright: ignore[reportUnknownArgumentType] - client JSON
            repo = fields.pop("repo")
            fields.setdefault("repoUrl" if "://" in repo else "repoName", repo)
            return fields
        return data  # pyright: ignore[reportUnknownVariableType] - client JSON


class TaskOptions(Wire):
    """How to go about it."""

    auto_create_pr: bool | None = Field(default=None, description="Open a pull request when done.")
    plan_approval_required: bool | None = Field(default=None, description="Wait for approval: of the plan, or with acp of each tool.")
    environment: dict[str, Any] | None = Field(
        default=None, max_length=100, description="Set-up of the agent's environment; never shown again."
    )


class NewTask(Wire):
    """A task to begin."""

    provider_id: str = Field(min_length=1, max_length=100, description="Who does it: jules, devin, codex-cloud, cursor-cloud, a2a, acp.")
    prompt: str = Field(min_length=1, max_length=10_000, description="What to do.")
    source: TaskSource = Field(default=TaskSource(), description="What to work on.")
    options: TaskOptions = Field(default=TaskOptions(), description="How to go about it.")
    credential_id: str = Field(default="", max_length=100, description="Credential to use; the first active one when left out.")
    idempotency_key: str = Field(default="", max_length=256, description="A second request with the same one gives the first task.")


class ActivityView(Wire):
    """Something that was done."""

    id: str
    type: str
    content: str
    timestamp: str | None
    metadata: dict[str, Any]


class TaskView(Wire):
    """A task as it stands."""

    id: str
    provider_id: str
    external_id: str | None
    status: Status
    prompt: str
    source: dict[str, Any]
    options: dict[str, Any]
    result: dict[str, Any] | None
    activities: list[ActivityView]
    error: str | None
    created_at: str | None
    updated_at: str | None
    completed_at: str | None


class OneTask(Wire):
    """One task. ``cancel_unsupported`` after a cancel: True where the agent could not be told, so that its own run goes on."""

    data: TaskView
    cancel_unsupported: bool | None = Field(default=None, serialization_alias="cancel_unsupported")


class TaskList(Wire):
    """Tasks, the newest first, without their activities."""

    data: list[TaskView]


class TaskPage(Wire):
    """Which tasks to list."""

    provider: str = Field(default="", max_length=100, description="Only tasks of this agent.")
    status: Status | None = Field(default=None, description="Only tasks in this state.")
    limit: int = Field(default=50, ge=1, le=500, description="Most to list.")


class TaskChoice(Wire):
    """Names one task."""

    id: str = Field(min_length=1, max_length=200, description="Id of the task.")


class TaskAction(TaskChoice):
    """What to do about a task."""

    action: Literal["approve", "message", "cancel"] = Field(description="Approve what it waits for, tell it something, or cancel it.")
    message: str = Field(default="", max_length=10_000, description="With 'message': what to tell it.")


class Deleted(Wire):
    """It is gone."""

    success: bool = True


async def _view(ctx: Context, task: CloudTask, *, activities: bool = True) -> TaskView:
    done = await ctx.hub.store.cloud_tasks.activities(task.id) if activities else []
    return TaskView(
        id=task.id,
        provider_id=task.provider_id,
        external_id=task.external_id or None,
        status=task.status,
        prompt=task.prompt,
        source=task.source,
        options=task.options,
        result=task.result,
        activities=[
            ActivityView(id=one.id, type=one.type, content=one.content, timestamp=iso(one.at), metadata=one.metadata) for one in done
        ],
        error=task.error or None,
        created_at=iso(task.created_at),
        updated_at=iso(task.updated_at),
        completed_at=iso(task.completed_at),
    )


def _one(answer: OneTask) -> dict[str, Any]:
    """The seed's shape; what a cancel could not do is said only after one."""
    return answer.model_dump(mode="json", by_alias=True, exclude=None if answer.cancel_unsupported is not None else {"cancel_unsupported"})


@skill(
    "agent-tasks-list",
    scopes=["manage"],
    cost=CostClass.FREE,
    rest=[Rest("GET", "/api/v1/agents/tasks")],
    mcp=Mcp("hubroute_agent_tasks", profiles=("all",)),
    read_only=True,
)
async def list_tasks(ctx: Context, ask: TaskPage) -> TaskList:
    """List tasks of cloud agents, the newest first."""
    found = await ctx.hub.store.cloud_tasks.list(provider=ask.provider, status=ask.status or "", limit=ask.limit)
    return TaskList(data=[await _view(ctx, task, activities=False) for task in found])


@skill(
    "agent-tasks-create",
    scopes=["manage"],
    cost=CostClass.METERED,
    rest=[Rest("POST", "/api/v1/agents/tasks", status=201, view=_one)],
    mcp=Mcp("hubroute_agent_task_create", profiles=("all",)),
    # The digest only: what an environment holds may be secret.
    audit=Audit.BASIC,
)
async def create_task(ctx: Context, ask: NewTask) -> OneTask:
    """Begin a task: at a vendor's cloud agent, an A2A agent by its URL, or an agent of this machine.

    The hub follows it in the background; ask for it to see what was done. An environment goes to the agent and is not kept.
    """
    task = await ctx.hub.cloud_tasks.create(
        ask.provider_id,
        ask.prompt,
        ask.source.model_dump(by_alias=True, exclude_defaults=True),
        ask.options.model_dump(by_alias=True, exclude_none=True),
        credential_id=ask.credential_id,
        idempotency=ask.idempotency_key or None,
    )
    return OneTask(data=await _view(ctx, task))


@skill(
    "agent-tasks-get",
    scopes=["manage"],
    cost=CostClass.NETWORK,
    rest=[Rest("GET", "/api/v1/agents/tasks/{id}", view=_one)],
    mcp=Mcp("hubroute_agent_task_get", profiles=("all",)),
    read_only=True,
)
async def get_task(ctx: Context, ask: TaskChoice) -> OneTask:
    """Show a task as it stands now, with everything that was done in it."""
    return OneTask(data=await _view(ctx, await ctx.hub.cloud_tasks.get(ask.id)))


@skill(
    "agent-tasks-act",
    scopes=["manage"],
    cost=CostClass.NETWORK,
    rest=[Rest("POST", "/api/v1/agents/tasks/{id}", view=_one)],
    mcp=Mcp("hubroute_agent_task_act", profiles=("all",)),
    destructive=True,
    audit=Audit.FULL,
)
async def act(ctx: Context, ask: TaskAction) -> OneTask:
    """Approve what a task waits for, tell its agent something, or cancel it.

    A cancel stops the agent where it has a way to be stopped; where it has none the answer says so (cancel_unsupported).
    """
    tasks = ctx.hub.cloud_tasks
    if ask.action == "cancel":
        task, unsupported = await tasks.cancel(ask.id)
        return OneTask(data=await _view(ctx, task), cancel_unsupported=unsupported)
    if ask.action == "approve":
        return OneTask(data=await _view(ctx, await tasks.approve(ask.id)))
    if not ask.message.strip():
        raise BadRequest("message must say something", field="message")
    return OneTask(data=await _view(ctx, await tasks.message(ask.id, ask.message)))


@skill(
    "agent-tasks-delete",
    scopes=["manage"],
    cost=CostClass.FREE,
    rest=[Rest("DELETE", "/api/v1/agents/tasks"), Rest("DELETE", "/api/v1/agents/tasks/{id}")],
    destructive=True,
    audit=Audit.FULL,
)
async def delete_task(ctx: Context, ask: TaskChoice) -> Deleted:
    """Delete a task from this hub. One of an agent on this machine is stopped; others go on where they run: cancel them first."""
    await ctx.hub.cloud_tasks.delete(ask.id)
    return Deleted()


class NewCredential(Wire):
    """A credential for an agent."""

    provider_id: str = Field(min_length=1, max_length=100, description="jules, devin, codex-cloud, cursor-cloud or a2a.")
    api_key: SecretStr = Field(default=SecretStr(""), max_length=10_000, description="Its key; an A2A agent may need none.")
    name: str = Field(default="main", min_length=1, max_length=100, description="Your name for it; the same name again replaces it.")
    base_url: str = Field(default="", max_length=2000, description="Address, where it is not the vendor's usual one; for a2a the agent's.")
    allow_private: bool = Field(default=False, description="Let the address be private or on this machine.")
    is_active: bool = Field(default=True, description="Whether new tasks use it.")


class CredentialView(Wire):
    """A credential without its secret."""

    id: str
    provider_id: str
    name: str
    api_key: str
    base_url: str | None
    allow_private: bool
    is_active: bool
    created_at: str | None
    updated_at: str | None


class AgentKindView(Wire):
    """An agent that tasks can be given to. ``verified``: tested here, documented by its vendor, or unverified."""

    id: str
    name: str
    verified: str
    needs_credential: bool
    actions: list[str]
    note: str


class CredentialList(Wire):
    """Every credential, and the agents that there are."""

    data: list[CredentialView]
    providers: list[AgentKindView]


class OneCredential(Wire):
    """One credential."""

    data: CredentialView


class CredentialChoice(Wire):
    """Names one credential."""

    id: str = Field(min_length=1, max_length=100, description="Id of the credential.")


def _credential(ctx: Context, one: Document[StoredCredential]) -> CredentialView:
    body = one.body
    return CredentialView(
        id=one.id,
        provider_id=body.provider_id,
        name=body.label,
        api_key=ctx.hub.cloud_tasks.credentials.secret(one).masked,
        base_url=body.base_url or None,
        allow_private=body.allow_private,
        is_active=body.active,
        created_at=iso(one.created_at),
        updated_at=iso(one.updated_at),
    )


@skill("agent-credentials-list", scopes=["manage"], cost=CostClass.FREE, rest=[Rest("GET", "/api/v1/agents/credentials")], read_only=True)
async def list_credentials(ctx: Context, ask: Nothing) -> CredentialList:
    """List the credentials for cloud agents, masked, and which agents there are."""
    tasks = ctx.hub.cloud_tasks
    kinds = [
        AgentKindView(id=one.id, name=one.name, verified=one.verified, needs_credential=one.keyed, actions=sorted(one.can), note=one.note)
        for one in tasks.agents.values()
    ]
    return CredentialList(data=[_credential(ctx, one) for one in tasks.credentials.all()], providers=kinds)


@skill(
    "agent-credentials-set",
    scopes=["manage"],
    cost=CostClass.FREE,
    rest=[Rest("POST", "/api/v1/agents/credentials", status=201)],
    idempotent=True,
    audit=Audit.FULL,
)
async def set_credential(ctx: Context, ask: NewCredential) -> OneCredential:
    """Store a credential for a cloud agent; one of the same agent and name is replaced as a whole."""
    tasks = ctx.hub.cloud_tasks
    agent = tasks.agent(ask.provider_id)
    if agent.here:
        raise BadRequest("agents of this machine are signed in by themselves and take no credential", field="providerId")
    secret = ask.api_key.get_secret_value()
    if agent.keyed and not secret:
        raise BadRequest("apiKey is needed", field="apiKey")
    if not agent.keyed and not ask.base_url:
        raise BadRequest("baseUrl must say where the agent is", field="baseUrl")
    stored = await tasks.credentials.put(
        agent.id, ask.name, secret, base_url=ask.base_url, allow_private=ask.allow_private, active=ask.is_active
    )
    return OneCredential(data=_credential(ctx, stored))


@skill(
    "agent-credentials-delete",
    scopes=["manage"],
    cost=CostClass.FREE,
    rest=[Rest("DELETE", "/api/v1/agents/credentials")],
    destructive=True,
    audit=Audit.FULL,
)
async def delete_credential(ctx: Context, ask: CredentialChoice) -> Deleted:
    """Remove a credential; open tasks that use it can no longer be followed."""
    await ctx.hub.cloud_tasks.credentials.remove(ask.id)
    return Deleted()
