"""Settings that clients of the seed send and that mean nothing here, or have another name: read, checked, and said so in the answer."""

from __future__ import annotations

from typing import Any, Literal, cast

from pydantic import Field, ValidationError

from hub.errors import InvalidInput
from hub.skill import details_of
from hub.wire import Body

#: Old names of settings -> where they are now.
_MOVED = {"requestRetry": "maxRetries", "maxRetryIntervalSec": "maxRetryWaitSec"}


class Elsewhere(Body):
    """What the seed's settings hold beside ours: looks of its pages, parts that ours does not have, and what is always on here."""

    adaptive_volume_routing: bool = False
    antigravity_signature_cache_mode: Literal["enabled", "bypass", "bypass-strict"] = "enabled"
    background_degradation: Any = None
    base_url: str = Field(default="", max_length=500)
    brute_force_protection: bool = True
    cli_compat_providers: tuple[str, ...] = ()
    cloud_url: str = Field(default="", max_length=500)
    combo_config_mode: Literal["guided", "expert"] = "guided"
    cors_origins: str = Field(default="", max_length=500)
    custom_agents: tuple[dict[str, Any], ...] = ()
    custom_favicon_base64: str = Field(default="", max_length=50_000, alias="customFaviconBase64")
    custom_favicon_url: str = Field(default="", max_length=2000)
    custom_logo_base64: str = Field(default="", max_length=100_000, alias="customLogoBase64")
    custom_logo_url: str = Field(default="", max_length=2000)
    debug_mode: bool = False
    enable_socks5_proxy: bool = Field(default=True, alias="enableSocks5Proxy")
    hidden_sidebar_items: tuple[str, ...] = ()
    hide_health_check_logs: bool = False
    instance_name: str = Field(default="", max_length=100)
    intent_detection_enabled: bool = False
    intent_extra_code_keywords: tuple[str, ...] = ()
    intent_extra_reasoning_keywords: tuple[str, ...] = ()
    intent_extra_simple_keywords: tuple[str, ...] = ()
    intent_simple_max_words: int = Field(default=1, ge=1, le=500)
    language: str = Field(default="", max_length=10)
    lkgp_enabled: bool = True
    max_body_size_mb: int = Field(default=1, ge=1)
    max_retry_interval_sec: int = Field(default=30, ge=0, le=300)
    models_dev_sync_enabled: bool = False
    models_dev_sync_interval: int = Field(default=3_600_000, ge=3_600_000, le=604_800_000)
    request_retry: int = Field(default=3, ge=0, le=10)
    setup_complete: bool = True
    theme: str = Field(default="", max_length=50)
    usage_token_buffer: int = Field(default=0, ge=0, le=50_000)
    vision_bridge_enabled: bool = False
    vision_bridge_max_images: int = Field(default=1, ge=1, le=20)
    vision_bridge_model: str = Field(default="", max_length=200)
    vision_bridge_prompt: str = Field(default="", max_length=5000)
    vision_bridge_timeout: int = Field(default=1000, ge=1000, le=300_000)
    wildcard_aliases: tuple[dict[str, str], ...] = ()
    ws_auth: bool = True


#: What the settings show and nobody can set; it may be sent back with the rest.
SHOWN = frozenset(
    {"runtimePorts", "apiPort", "dashboardPort", "hasPassword", "cloudEnabled", "cloudConfigured", "tailscaleEnabled", "tailscaleUrl",
     "machineId", "ignored"}
)  # fmt: skip
_PASSWORDS = frozenset({"newPassword", "currentPassword"})
_NAMES = frozenset(field.alias or name for name, field in Elsewhere.model_fields.items())


class PasswordChange(Body):
    """A new password of the owner. It comes alone, so that a change is never half done."""

    new_password: str = Field(min_length=1, max_length=200)
    current_password: str = Field(default="", max_length=200)


def password_of(patch: dict[str, Any]) -> PasswordChange | None:
    """The change of the password that a patch is, None where it is none. Raises InvalidInput, also for anything beside it."""
    if not _PASSWORDS & patch.keys():
        return None
    try:
        return PasswordChange.model_validate(patch)
    except ValidationError as error:
        raise InvalidInput(details_of(error)) from None


def sorted_out(patch: dict[str, Any], ours: frozenset[str]) -> tuple[dict[str, Any], list[str]]:
    """The part of a patch that means something here, under its names here, and the names of the rest. ``ours`` are our settings.

    Raises InvalidInput for a value that the seed would refuse.
    """
    known = (_NAMES | SHOWN) - ours
    ignored = sorted(name for name in patch if name in known and name not in _MOVED)
    try:
        Elsewhere.model_validate({name: patch[name] for name in _NAMES - ours if patch.get(name) is not None})
    except ValidationError as error:
        raise InvalidInput(details_of(error)) from None
    kept = {name: value for name, value in patch.items() if name not in ignored and name not in _MOVED}
    moved = {_MOVED[name]: value for name, value in patch.items() if name in _MOVED}
    return (_with_waits(kept, moved) if moved else kept), ignored


def _with_waits(patch: dict[str, Any], moved: dict[str, Any]) -> dict[str, Any]:
    """A patch with what has moved in its new place; what is named there counts more."""
    whole = _object(patch.get("resilienceSettings"), "resilienceSettings")
    waits = _object(whole.get("waitForCooldown"), "resilienceSettings.waitForCooldown")
    return {**patch, "resilienceSettings": {**whole, "waitForCooldown": {**moved, **waits}}}


def _object(value: Any, field: str) -> dict[str, Any]:
    if value is not None and not isinstance(value, dict):
        raise InvalidInput([{"field": field, "message": "Input should be an object"}])
    return cast("dict[str, Any]", value or {})
