"""What all tables share: their metadata, how they and their constraints are named, what new columns hold in old rows."""

from __future__ import annotations

import re

from sqlalchemy import MetaData, text
from sqlalchemy.orm import declared_attr, registry
from sqlmodel import SQLModel

#: Fixed names, so that a migration can name a constraint on both databases.
_NAMES = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}


#: What rows from before a column was there have in it.
EMPTY = {"server_default": text("''")}
EMPTY_OBJECT = {"server_default": text("'{}'")}
ZERO = {"server_default": text("0")}


class Base(SQLModel, registry=registry(metadata=MetaData(naming_convention=_NAMES))):
    """Root of our tables, with a metadata of its own. A table is named after its class."""

    # SQLModel types this as an attribute; SQLAlchemy's documented way to override it is a directive.
    @declared_attr.directive
    def __tablename__(cls) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
        return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", cls.__name__).lower()
