"""Every setting of a hub: one frozen model, filled from flags, ``HUBROUTE_*``, a TOML file and defaults, in that order."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Annotated, Any, Literal, cast

import platformdirs
from pydantic import AliasChoices, Field, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, PydanticBaseSettingsSource, SettingsConfigDict, TomlConfigSettingsSource

from hub.errors import BadRequest
from hub.login.passwords import fault
from hub.oauth.issuer import Issuer
from hub.outbound.address import LOOPBACK, network


class Settings(BaseSettings):
    """Settings of one process. ``HUBROUTE_CONFIG`` names the TOML file (default ``<data_dir>/hubroute.toml``)."""

    model_config = SettingsConfigDict(env_prefix="HUBROUTE_", frozen=True, extra="ignore")

    data_dir: Path = Field(
        default_factory=lambda: Path(platformdirs.user_data_dir("hubroute", appauthor=False)),
        description="Folder for the database, the master key, the lock and the control socket.",
    )
    host: str = Field(default="127.0.0.1", description="Address to listen on. Beyond loopback every door still needs a key.")
    port: int = Field(default=20128, ge=0, le=65535, description="Port to listen on; 0 picks a free one and prints it.")
    database_url: str = Field(
        default="",
        repr=False,
        description="Empty: one SQLite file in the data folder. Else `postgresql://user:password@host/name`, for any number of processes.",
    )
    public_url: str = Field(
        default="",
        description="How clients and browsers reach this hub from outside: for the agent card, snippets, and where logins come back to.",
    )
    master_key: str = Field(
        default="",
        repr=False,
        description="Base64 of 32 bytes that encrypt credentials; empty: `master.key` in the data folder (mode 0600).",
    )
    master_key_source: Literal["file", "keychain"] = Field(
        default="file", description="Where the master key lives when HUBROUTE_MASTER_KEY is not set."
    )
    require_api_key: bool = Field(
        default=True,
        # Environment names are read without regard to case: the second is also the seed's REQUIRE_API_KEY.
        validation_alias=AliasChoices("HUBROUTE_REQUIRE_API_KEY", "require_api_key"),
        description="False opens the model API (scope `chat`) without a key, on loopback only. The seed's `REQUIRE_API_KEY` works too.",
    )
    allow_private: bool = Field(default=False, description="Let every connection reach private and loopback addresses.")
    allowed_hosts: str = Field(
        default="", description="Comma list of further Host names that doors accept, besides the bound address and loopback."
    )
    push_allowed_hosts: str = Field(
        default="",
        description="Comma list of hosts (`name` or `name:port`) that pushes and webhooks may reach on private addresses or over http.",
    )
    allowed_origins: str = Field(default="", description="Comma list of web origins that may call the doors from a browser.")
    demo: Literal["auto", "on", "off"] = Field(
        default="auto", description="The built-in demo provider: `auto` answers until a real connection exists."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(default="info", description="Least severe event that is logged.")
    log_format: Literal["auto", "json", "text"] = Field(default="auto", description="`auto`: text on a terminal, JSON lines otherwise.")
    max_body_mb: int = Field(default=10, ge=1, le=1024, description="Largest request body in MiB on ordinary addresses.")
    max_upload_mb: int = Field(
        default=100, ge=1, le=4096, description="Largest multipart form in MiB: pictures to edit, sound to transcribe."
    )
    max_file_mb: int = Field(default=512, ge=1, le=16_384, description="Largest file in MiB that `POST /v1/files` takes.")
    file_quota_mb: int = Field(default=10_240, ge=1, description="MiB that the files of one key may hold together.")
    max_backup_mb: int = Field(default=1024, ge=1, le=65_536, description="Largest backup in MiB that is restored or imported.")
    batch_concurrency: int = Field(
        default=16, ge=1, le=1000, description="Most requests of batches that run at once at one provider, in each process."
    )
    batch_lease_seconds: int = Field(
        default=20, ge=2, le=600, description="How long what a process that died was working on for batches waits for another process."
    )
    connect_timeout: float = Field(default=30.0, gt=0, description="Seconds to connect to a provider, TLS included.")
    first_byte_timeout: float = Field(default=600.0, gt=0, description="Seconds a provider may take to begin its answer.")
    idle_timeout: float = Field(default=600.0, gt=0, description="Seconds a provider may be silent inside an answer.")
    attempt_limit: int = Field(default=6, ge=1, le=30, description="Most upstream calls for one request.")
    request_seconds: float = Field(default=900.0, gt=0, description="Wall-clock limit for finding a provider that answers.")
    flush_ms: int = Field(default=50, ge=1, le=5000, description="Window of usage and audit rows that a kill -9 may lose.")
    queue_rows: int = Field(default=50_000, ge=100, description="Rows waiting for the database before requests wait too.")
    shutdown_seconds: float = Field(default=20.0, ge=0, description="How long running streams may finish after a stop signal.")
    drain_seconds: float = Field(
        default=0.0,
        ge=0,
        le=300,
        description="How long a hub that is to stop goes on taking calls while `/ready` says 503, so that a proxy turns elsewhere first.",
    )
    max_sockets: int = Field(default=1000, ge=1, description="Most WebSockets open at once; more are refused with 503.")
    socket_requests: int = Field(default=64, ge=1, le=10_000, description="Most requests at work at once on one WebSocket of `/v1/ws`.")
    socket_ping_seconds: float = Field(
        default=20.0, gt=0, description="Seconds between pings on a WebSocket, and how long its client may take to answer one."
    )
    socket_idle_seconds: float = Field(
        default=1800.0, gt=0, description="Seconds after which a WebSocket on which nothing happens is closed."
    )
    github_issues_repo: str = Field(
        default="",
        validation_alias=AliasChoices("HUBROUTE_GITHUB_ISSUES_REPO", "github_issues_repo"),
        pattern=r"^([A-Za-z0-9_.-]{1,100}/[A-Za-z0-9_.-]{1,100})?$",
        description="`owner/name` of the repository for reports to `/v1/issues/report`. The seed's `GITHUB_ISSUES_REPO` works too.",
    )
    github_issues_token: str = Field(
        default="",
        repr=False,
        validation_alias=AliasChoices("HUBROUTE_GITHUB_ISSUES_TOKEN", "github_issues_token"),
        description="Token that may open issues there. The seed's `GITHUB_ISSUES_TOKEN` works too.",
    )
    github_api_url: str = Field(default="https://api.github.com", description="Base URL of the API that opens issues and names commits.")
    pricing_url: str = Field(
        default="",
        description="JSON document of model prices that `POST /api/pricing/sync` may fetch (our form or LiteLLM's); empty: none.",
    )
    sync_url: str = Field(
        default="", description="Origin of another hub to sync with (`https://hub.example.com`); named here it may be a private address."
    )
    sync_token: str = Field(default="", repr=False, description="Sync token that the other hub's owner made for this one.")
    proxy_probe_url: str = Field(
        default="https://api64.ipify.org?format=json",
        description="What a proxy is tried with: an address that answers to GET, best with the caller's public address. It may be private.",
    )
    proxy_check_seconds: float = Field(
        default=300.0, ge=0, description="Seconds between tries of each proxy in the pool that is switched on; 0: never."
    )
    trusted_proxies: str = Field(
        default="",
        description="Comma list of addresses or networks (CIDR) of reverse proxies whose `X-Forwarded-For` is believed.",
    )
    programs: Literal["auto", "on", "off"] = Field(
        default="auto", description="Whether owners may have this hub start programs (stdio MCP servers). `auto`: on loopback only."
    )
    cli_allow_config_writes: bool = Field(
        default=True,
        validation_alias=AliasChoices("HUBROUTE_CLI_ALLOW_CONFIG_WRITES", "cli_allow_config_writes"),
        description="False: `hubroute connect` and `/api/cli-tools` show what they would write into clients' files, and write nothing.",
    )
    cli_config_home: str = Field(
        default="",
        validation_alias=AliasChoices("HUBROUTE_CLI_CONFIG_HOME", "cli_config_home"),
        description="Home folder whose client programs are connected; empty: that of the user who runs the hub.",
    )
    cli_extra_paths: str = Field(
        default="",
        validation_alias=AliasChoices("HUBROUTE_CLI_EXTRA_PATHS", "cli_extra_paths"),
        description="Further folders, separated as in PATH, in which client programs are looked for.",
    )
    initial_password: str = Field(
        default="",
        repr=False,
        validation_alias=AliasChoices("HUBROUTE_INITIAL_PASSWORD", "initial_password"),
        description="Owner password of a hub that has none yet; there is no default. The seed's `INITIAL_PASSWORD` works too.",
    )
    oidc_issuer: str = Field(
        default="", description="Identity provider (OpenID Connect) by which the owner may log in at the dashboard, as it names itself."
    )
    oidc_client_id: str = Field(default="", max_length=500, description="Client id of this hub there.")
    oidc_client_secret: str = Field(default="", repr=False, description="Its secret; empty for a public client.")
    oidc_allowed: str = Field(
        default="",
        description="Comma list of people who get the owner's authority: subjects, or e-mail addresses that the provider verified.",
    )
    oidc_scopes: str = Field(default="openid email", max_length=500, description="Scopes that are asked for there.")
    oidc_allow_private: bool = Field(default=False, description="The identity provider itself is on a private network.")
    session_idle_hours: int = Field(default=168, ge=1, le=8760, description="Hours after which a dashboard session that is not used ends.")
    session_days: int = Field(default=30, ge=1, le=365, description="Days after which a dashboard session ends in any case.")
    acp_enabled: bool = Field(
        default=False, description="Let keys with the scope `process` drive coding agents that are installed on this machine."
    )
    acp_custom_agents: bool = Field(
        default=False, description="Let the owner add agents of their own to `/api/acp/agents`: programs that this hub will run."
    )
    acp_folders: str = Field(
        default="",
        description="Folders in which agents may work, separated by `:`; empty: only in an empty folder that is removed afterwards.",
    )
    acp_permissions: Literal["refuse", "read", "all"] = Field(
        default="refuse", description="What agents are told when they ask for permission: no; yes to reading in their folder; yes to all."
    )
    acp_sessions: int = Field(default=4, ge=1, le=100, description="Most agents at work at once.")
    acp_seconds: float = Field(default=900.0, gt=0, description="Longest turn of an agent.")
    acp_chat: bool = Field(
        default=False,
        description="Let models such as `cc/default` be answered by driving an agent: whoever may chat then reaches what it may read.",
    )
    oauth_issuers: Annotated[tuple[Issuer, ...], NoDecode] = Field(
        default=(),
        max_length=20,
        description="Authorization servers whose JWT access tokens the doors take: a comma list of issuers, or JSON (TOML: a table each)"
        " with `issuer`, `audience`, `scopes`, `grants`, `ask` and more; see `docs/oauth.md`.",
    )
    grpc_address: str = Field(
        default="",
        pattern=r"^((\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):[0-9]{1,5})?$",
        description="`host:port` on which A2A answers over gRPC too (port 0 picks a free one); empty: nowhere. Wants `hubroute[grpc]`.",
    )
    grpc_public_address: str = Field(
        default="", description="How clients reach that address from outside, for the agent card; empty: as it was bound."
    )
    grpc_tls_cert: Path | None = Field(
        default=None, description="PEM file of the certificate chain for gRPC; without it it is unencrypted."
    )
    grpc_tls_key: Path | None = Field(default=None, description="PEM file of the private key of that certificate.")
    skills_max_file_bytes: int = Field(
        default=1_048_576,
        ge=1,
        le=2**28,
        validation_alias=AliasChoices("HUBROUTE_SKILLS_MAX_FILE_BYTES", "skills_max_file_bytes"),
        description="Largest file that installed skills read or write. The seed's `SKILLS_MAX_FILE_BYTES` works too, as all of these.",
    )
    skills_workspace_mb: int = Field(
        default=64,
        ge=1,
        le=16_384,
        validation_alias=AliasChoices("HUBROUTE_SKILLS_WORKSPACE_MB", "skills_workspace_mb"),
        description="MiB that the files of one key's skills may hold together.",
    )
    skills_max_http_response_bytes: int = Field(
        default=256_000,
        ge=1,
        le=2**28,
        validation_alias=AliasChoices("HUBROUTE_SKILLS_MAX_HTTP_RESPONSE_BYTES", "skills_max_http_response_bytes"),
        description="Most bytes of an answer that installed skills take from an address.",
    )
    skills_max_sandbox_output_chars: int = Field(
        default=100_000,
        ge=1,
        le=2**24,
        validation_alias=AliasChoices("HUBROUTE_SKILLS_MAX_SANDBOX_OUTPUT_CHARS", "skills_max_sandbox_output_chars"),
        description="Most characters that are kept of what a container writes.",
    )
    skills_sandbox_timeout_ms: int = Field(
        default=10_000,
        ge=100,
        le=60_000,
        validation_alias=AliasChoices("HUBROUTE_SKILLS_SANDBOX_TIMEOUT_MS", "skills_sandbox_timeout_ms"),
        description="How long a container may run.",
    )
    skills_sandbox_network_enabled: bool = Field(
        default=False,
        validation_alias=AliasChoices("HUBROUTE_SKILLS_SANDBOX_NETWORK_ENABLED", "skills_sandbox_network_enabled"),
        description="Whether containers that ask for it get a network.",
    )
    skills_allowed_sandbox_images: str = Field(
        default="",
        validation_alias=AliasChoices("HUBROUTE_SKILLS_ALLOWED_SANDBOX_IMAGES", "skills_allowed_sandbox_images"),
        description="Comma list of container images that skills may use besides `alpine:3.20`, `node:22-alpine`, `python:3.12-alpine`.",
    )
    skills_sandbox_program: str = Field(
        default="", description="Absolute path of the `docker` or `podman` that runs the code of skills; empty: the first one found."
    )
    skills_allowed_hosts: str = Field(
        default="", description="Comma list of hosts (`name` or `name:port`) that installed skills may reach on private addresses."
    )
    skillsmp_url: str = Field(default="https://skillsmp.com", description="Base URL of the SkillsMP marketplace; set, it may be private.")
    skillssh_url: str = Field(default="https://skills.sh", description="Base URL of the skills.sh registry; set, it may be private.")
    skills_raw_url: str = Field(
        default="https://raw.githubusercontent.com",
        description="Base URL of `/owner/name/commit/path` of public repositories; set, it may be private.",
    )
    test_profile: Literal["", "conformance"] = Field(default="", description="Fixtures for conformance suites; refused beyond loopback.")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Flags win over the environment, the environment over the file."""
        file = config_file(init_settings().get("data_dir"))
        return (init_settings, env_settings, TomlConfigSettingsSource(settings_cls, toml_file=file))

    @field_validator("database_url")
    @classmethod
    def _known_database(cls, value: str) -> str:
        if value and not value.startswith(("sqlite:///", "postgresql://", "postgres://")):
            raise ValueError("write sqlite:///path or postgresql://user:password@host/name")
        return value.replace("postgres://", "postgresql://", 1) if value.startswith("postgres://") else value

    @field_validator("oauth_issuers", mode="before")
    @classmethod
    def _issuers(cls, value: Any) -> Any:
        """A comma list of issuers, JSON, or what a TOML file gives; a plain text stands for an issuer with nothing else set."""
        if isinstance(value, str):
            text = value.strip()
            try:
                value = json.loads(text) if text.startswith(("[", "{")) else [one.strip() for one in text.split(",") if one.strip()]
            except ValueError as error:
                raise ValueError(f"write a comma list of issuers, or JSON: {error}") from None
        if isinstance(value, dict):
            value = [value]
        if not isinstance(value, (list, tuple)):
            return value
        return [{"issuer": one} if isinstance(one, str) else one for one in cast("list[Any]", value)]

    @field_validator("initial_password")
    @classmethod
    def _sound_password(cls, value: str) -> str:
        if value and (why := fault(value)):
            raise ValueError(f"the password {why}")
        return value

    @model_validator(mode="after")
    def _whole_oidc(self) -> Settings:
        if not self.oidc_issuer:
            return self
        Issuer(issuer=self.oidc_issuer)
        if not self.oidc_client_id or not self.oidc_allowed.strip(" ,"):
            raise ValueError("oidc_issuer needs oidc_client_id, and oidc_allowed with those who may log in")
        if "openid" not in self.oidc_scopes.split():
            raise ValueError("oidc_scopes must name openid")
        return self

    @field_validator("trusted_proxies")
    @classmethod
    def _networks(cls, value: str) -> str:
        for one in value.split(","):
            if one.strip():
                try:
                    network(one, "trusted_proxies")
                except BadRequest as error:
                    raise ValueError(error.message) from None
        return value

    @model_validator(mode="after")
    def _safe_issuers(self) -> Settings:
        names = [one.issuer for one in self.oauth_issuers]
        if len(set(names)) < len(names):
            raise ValueError("oauth_issuers names an issuer twice")
        if names and not self.public_url and not self.loopback:
            raise ValueError("oauth_issuers needs public_url beyond loopback: tokens are made for an address, and clients must know it")
        return self

    @model_validator(mode="after")
    def _safe(self) -> Settings:
        where = f"{self.host} {self.grpc_address}".strip()
        if not self.local_only and not self.require_api_key:
            raise ValueError(f"require_api_key=false is allowed on loopback only, not on {where}")
        if not self.local_only and self.test_profile:
            raise ValueError(f"test_profile is allowed on loopback only, not on {where}")
        if (self.grpc_tls_cert is None) != (self.grpc_tls_key is None):
            raise ValueError("grpc_tls_cert and grpc_tls_key go together; set both or neither")
        return self

    @property
    def programs_allowed(self) -> bool:
        """Whether child processes may be started at an owner's word (SEC-30)."""
        return self.programs == "on" or (self.programs == "auto" and self.local_only)

    @property
    def loopback(self) -> bool:
        """Whether only this machine can reach the HTTP doors."""
        return self.host in LOOPBACK

    @property
    def local_only(self) -> bool:
        """Whether only this machine can reach any door."""
        return self.loopback and (not self.grpc_address or self.grpc_address.rpartition(":")[0].strip("[]") in LOOPBACK)

    @property
    def postgres(self) -> bool:
        """Whether the store is PostgreSQL."""
        return self.database_url.startswith("postgresql")

    @property
    def base_url(self) -> str:
        """How clients reach this hub."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return self.public_url.rstrip("/") or f"http://{host}:{self.port}"


def config_file(data_dir: object) -> Path:
    """The TOML file with settings, there or not: the named one, else that of the data folder."""
    named = os.environ.get("HUBROUTE_CONFIG")
    if named:
        return Path(named)
    folder = data_dir or os.environ.get("HUBROUTE_DATA_DIR") or platformdirs.user_data_dir("hubroute", appauthor=False)
    return Path(str(folder)) / "hubroute.toml"
