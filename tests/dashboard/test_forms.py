"""Forms: the fields that a skill's input makes, and what is typed as that input."""

from __future__ import annotations

from typing import Any

import pytest

from hub.errors import InvalidInput
from hub.registry import Skills
from transports._dash import forms
from transports._dash.forms import Form

SKILLS = Skills.load()


def field(skill: str, name: str) -> forms.Field:
    return forms.fields(SKILLS.by_name[skill], [name])[0]


@pytest.mark.parametrize(
    ("skill", "name", "kind"),
    [
        ("connections-create", "name", "text"),
        ("connections-create", "apiKey", "secret"),
        ("connections-create", "allowPrivate", "switch"),
        ("connections-create", "priority", "whole"),
        ("connections-create", "models", "list"),
        ("connections-create", "providerSpecificData", "json"),
        ("connections-update", "apiKey", "secret"),
        ("budgets-set", "dailyLimitUsd", "number"),
        ("budgets-set", "resetInterval", "choice"),
    ],
)
def test_the_schema_says_what_kind_a_field_is(skill: str, name: str, kind: str) -> None:
    found = field(skill, name)
    assert found.kind == kind
    assert found.help


def test_names_become_words() -> None:
    assert [forms.label(name) for name in ("baseUrl", "apiKey", "maxRequestsPerMinute", "dailyLimitUsd", "allowed_connections")] == [
        "Base URL",
        "API key",
        "Max requests per minute",
        "Daily limit USD",
        "Allowed connections",
    ]


def test_every_field_of_every_skill_can_be_shown() -> None:
    count = sum(len(forms.fields(skill)) for skill in SKILLS if skill.typed)
    assert count > 500


def filled(skill: str, typed: dict[str, str], names: list[str], stored: dict[str, Any] | None = None) -> dict[str, Any]:
    return forms.filled(SKILLS.by_name[skill], Form(typed), names, stored=stored)


def test_a_new_thing_is_made_of_what_was_typed() -> None:
    typed = {"provider": "openai", "name": " mine ", "apiKey": "", "models": "a\n\n b \n", "allowPrivate": "on"}
    data = filled("connections-create", typed, ["provider", "name", "apiKey", "baseUrl", "models", "allowPrivate", "isActive"])
    assert data == {"provider": "openai", "name": "mine", "models": ["a", "b"], "allowPrivate": True, "isActive": False}


def test_a_change_sends_only_what_differs_and_keeps_a_secret_that_was_not_typed() -> None:
    stored = {"name": "mine", "priority": 3, "models": ["a"], "isActive": True, "group": "x", "maxConcurrent": 4, "defaultModel": None}
    names = [*stored, "apiKey"]
    same = {
        "name": "mine",
        "priority": "3",
        "models": "a\r\n",
        "isActive": "on",
        "group": "x",
        "maxConcurrent": "4",
        "defaultModel": "",
        "apiKey": "",
    }
    assert filled("connections-update", same, names, stored) == {}
    changed = {**same, "name": "yours", "group": "", "maxConcurrent": "", "models": "", "apiKey": "sk-new"}
    assert filled("connections-update", changed, names, stored) == {
        "name": "yours",
        "group": "",
        "maxConcurrent": None,
        "models": [],
        "apiKey": "sk-new",
    }
    del changed["isActive"]
    assert filled("connections-update", changed, ["isActive"], stored) == {"isActive": False}


def test_what_cannot_be_read_names_its_field() -> None:
    with pytest.raises(InvalidInput) as refused:
        filled("connections-create", {"providerSpecificData": "{no"}, ["providerSpecificData"])
    assert refused.value.details[0]["field"] == "providerSpecificData"
