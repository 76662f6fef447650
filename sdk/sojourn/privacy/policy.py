"""The owner's policy: a TOML file that says what may happen to the owner's data.

Rules of this module:

* What is not admitted is refused. There is no default that admits anything: every key that widens is required.
* A file is refused whole, with its name, the path of each bad key, what was found and what is allowed there.
* The policy's identity is the SHA-256 of the file's exact bytes; every release names it.
* In this version a release is `trusted-plan`: bounded, without noise. It rests on the owner's trust in a plan, which
  is why the owner pins plans by hash. To trust any plan of an author is possible, in words that say so.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainValidator,
    PrivateAttr,
    ValidationError,
    model_validator,
)

from sojourn.codec import digest
from sojourn.errors import PolicyInvalid
from sojourn.limits import MAX_DOCUMENT_BYTES, MAX_FUEL, MAX_MEMORY_BYTES, MAX_NAME_CHARS
from sojourn.privacy.diagnosis import describe
from sojourn.vm.effects import AGENT_EFFECTS

__all__ = ["AGENT_EFFECTS", "ANY_PLAN", "ANY_PROGRAM", "AdmitRule", "OwnerPolicy", "ReleaseRule"]

ANY_PROGRAM: Final = "any"
ANY_PLAN: Final = "any-pinned-by-author"

_HASH: Final = re.compile(r"sha256:[0-9a-f]{64}")
_KEY: Final = re.compile(r"[0-9a-f]{64}")


def _tuple(value: object) -> object:
    """TOML has lists; a frozen model holds tuples."""
    return tuple(value) if isinstance(value, list) else value


def _distinct(values: tuple[str, ...]) -> tuple[str, ...]:
    repeated = sorted({value for value in values if values.count(value) > 1})
    if repeated:
        raise ValueError(f"{repeated[0]!r} stands here twice; write it once")
    return values


def _is_key(value: str) -> str:
    if not _KEY.fullmatch(value):
        raise ValueError(f"{value!r} is not a key id")
    return value


def _is_effect(value: str) -> str:
    if value not in AGENT_EFFECTS:
        raise ValueError(f"{value!r} is not an effect of an agent's program")
    return value


def _pins(word: str) -> PlainValidator:
    """A list of hashes, or one word that says in full that there is none."""

    def check(value: object) -> str | tuple[str, ...]:
        if value == word:
            return word
        if not isinstance(value, list) or not value:
            raise ValueError(f"this is neither a list of hashes nor {word!r}")
        for item in value:
            if not isinstance(item, str) or not _HASH.fullmatch(item):
                raise ValueError(f"{item!r} is not a hash")
        return _distinct(tuple(value))

    return PlainValidator(check)


Name = Annotated[str, Field(min_length=1, max_length=MAX_NAME_CHARS)]
Names = Annotated[tuple[Name, ...], BeforeValidator(_tuple), Field(min_length=1), AfterValidator(_distinct)]
Keys = Annotated[
    tuple[Annotated[str, AfterValidator(_is_key)], ...],
    BeforeValidator(_tuple),
    Field(min_length=1),
    AfterValidator(_distinct),
]
Effects = Annotated[
    tuple[Annotated[str, AfterValidator(_is_effect)], ...],
    BeforeValidator(_tuple),
    Field(min_length=1),
    AfterValidator(_distinct),
]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Count = Annotated[int, Field(gt=0)]


class _Part(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class ReleaseRule(_Part):
    """One release that may leave, and how wide it may be.

    Attributes:
        kind: `update`, `count`, `mean` or `sum`.
        claim: what a statement may say of it. Only `trusted-plan` here: nothing of this version adds noise.
        name: the release's public name. An update is always named `update`.
        max_clip: of an update: largest L2 norm of the whole update.
        max_weight: of an update: largest integer weight.
        high: of a count: the largest bound. Of a mean or sum: the largest upper bound of one value.
        low: of a mean or sum: the smallest lower bound of one value.
    """

    kind: Literal["update", "count", "mean", "sum"] = Field(description="'update', 'count', 'mean' or 'sum'")
    claim: Literal["trusted-plan"] = Field(
        description="'trusted-plan', which says: bounded, without noise; this version has no other"
    )
    name: Name | None = Field(None, description="the release's public name")
    max_clip: Positive | None = Field(None, description="a number above 0: the largest L2 norm of an update")
    max_weight: Count | None = Field(None, description="an integer above 0: the largest weight of an update")
    low: Finite | None = Field(None, description="a number: the smallest value of one unit")
    high: Finite | None = Field(None, description="a number: the largest value of one unit, or the largest count")

    @model_validator(mode="after")
    def _bounds_of_the_kind(self) -> Self:
        wanted = _RELEASE_KEYS[self.kind]
        given = {key for key in _ALL_RELEASE_KEYS if getattr(self, key) is not None}
        missing = [key for key in wanted if key not in given]
        if missing:
            raise ValueError(
                f"a release of kind {self.kind!r} needs {', '.join(wanted)}; missing: {', '.join(missing)}"
            )
        beyond = sorted(given - set(wanted))
        if beyond:
            raise ValueError(f"a release of kind {self.kind!r} takes {', '.join(wanted)}; not {', '.join(beyond)}")
        if self.low is not None and self.high is not None and self.low >= self.high:
            raise ValueError(f"low ({self.low}) must be below high ({self.high})")
        if self.kind == "count" and self.high is not None and self.high < 1:
            raise ValueError(f"high is {self.high}; a count's bound is 1 or more")
        return self

    @property
    def title(self) -> str:
        """Kind and name, as messages say it."""
        return "update" if self.kind == "update" else f"{self.kind} {self.name!r}"


_RELEASE_KEYS: Final = {
    "update": ("max_clip", "max_weight"),
    "count": ("name", "high"),
    "mean": ("name", "low", "high"),
    "sum": ("name", "low", "high"),
}
_ALL_RELEASE_KEYS: Final = ("name", "max_clip", "max_weight", "low", "high")


class AdmitRule(_Part):
    """One way in. An order is admitted when one rule admits all of it.

    Attributes:
        name: for the owner's log.
        authors: key ids (hexadecimal) of authors whose jobs may run.
        purposes: purposes that a job may state.
        programs: hashes of agent programs, or `"any"`: a program can only do what `effects` and `release` allow.
        plans: hashes of plans that the owner has looked at, or `"any-pinned-by-author"`.
        streams: private streams that may be opened, each with the fields that may be read.
        effects: effects that the program may be able to reach.
        max_fuel: instructions of one run.
        max_memory: bytes of program values of one run.
        release: what may leave.
    """

    name: Name | None = Field(None, description="a text for the owner's log")
    authors: Keys = Field(description="a list of authors' key ids, each 64 lower-case hexadecimal characters")
    purposes: Names = Field(description='a list of purposes, for example ["breast-cancer"]')
    programs: Annotated[str | tuple[str, ...], _pins(ANY_PROGRAM)] = Field(
        description=f"a list of hashes ['sha256:<64 lower-case hexadecimal characters>'], or '{ANY_PROGRAM}'"
    )
    plans: Annotated[str | tuple[str, ...], _pins(ANY_PLAN)] = Field(
        description=f"a list of hashes ['sha256:<64 lower-case hexadecimal characters>'], or '{ANY_PLAN}'"
    )
    streams: dict[Name, Names] = Field(description='a table from stream to fields, for example { patients = ["x"] }')
    effects: Effects = Field(description=f"a list of {', '.join(sorted(AGENT_EFFECTS))}")
    max_fuel: Annotated[int, Field(gt=0, le=MAX_FUEL)] = Field(description=f"instructions of a run, 1 to {MAX_FUEL}")
    max_memory: Annotated[int, Field(gt=0, le=MAX_MEMORY_BYTES)] = Field(
        description=f"bytes of a run's program values, 1 to {MAX_MEMORY_BYTES}"
    )
    release: Annotated[tuple[ReleaseRule, ...], BeforeValidator(_tuple), Field(min_length=1)] = Field(
        description="one [[admit.release]] table or more"
    )

    @model_validator(mode="after")
    def _releases_are_distinct(self) -> Self:
        titles = [rule.title for rule in self.release]
        _distinct(tuple(titles))
        for rule in self.release:
            effect = f"release.{rule.kind}"
            if effect not in self.effects:
                raise ValueError(f"{rule.title} may be released, but {effect!r} is not among the effects; add it there")
        return self


class OwnerPolicy(_Part):
    """A whole policy file.

    Attributes:
        version: of the file's format: 1.
        owner: the data owner's name, for statements to people.
        admit: the rules, tried in order.
    """

    version: Literal[1] = Field(description="1")
    owner: Name = Field(description="the data owner's name, a text")
    admit: Annotated[tuple[AdmitRule, ...], BeforeValidator(_tuple), Field(min_length=1)] = Field(
        description="one [[admit]] table or more"
    )

    _digest: bytes = PrivateAttr(default=b"")
    _file: str = PrivateAttr(default="")

    @property
    def digest(self) -> bytes:
        """SHA-256 of the file's exact bytes, 32 bytes."""
        return self._digest

    @property
    def file(self) -> str:
        """The file's name, as it was given."""
        return self._file

    @classmethod
    def load(cls, path: str | Path, known: Self | None = None) -> Self:
        """Read a policy file.

        Args:
            path: of the file.
            known: returned as it is when the file holds its exact bytes.

        Raises:
            PolicyInvalid: it cannot be read, or see `parse`.
        """
        try:
            with Path(path).open("rb") as file:
                data = file.read(MAX_DOCUMENT_BYTES + 1)
        except FileNotFoundError as problem:
            raise PolicyInvalid(
                f"{path}: {problem.strerror}; draft one: sojourn policy draft SUBMISSION --owner NAME -o {path}"
            ) from None
        except OSError as problem:
            raise PolicyInvalid(
                f"{path}: {problem.strerror or 'cannot be read'}; name a readable policy file"
            ) from None
        if known is not None and known.digest == digest(data):
            return known
        return cls.parse(data, str(path))

    @classmethod
    def parse(cls, data: bytes, file: str) -> Self:
        """Read a policy from the exact bytes of its file.

        Args:
            data: the file's bytes.
            file: its name, for messages.

        Raises:
            PolicyInvalid: not TOML, an unknown key, a value out of range, or nothing is admitted. The message has one
                line for each problem.
        """
        if len(data) > MAX_DOCUMENT_BYTES:
            raise PolicyInvalid(f"{file}: more than {MAX_DOCUMENT_BYTES} bytes; a policy is a short file")
        try:
            content: dict[str, Any] = tomllib.loads(data.decode("utf-8"))
        except UnicodeDecodeError as problem:
            raise PolicyInvalid(f"{file}: byte {problem.start} is not UTF-8; save the file as UTF-8 text") from None
        except tomllib.TOMLDecodeError as problem:
            raise PolicyInvalid(f"{file}: this is not TOML: {problem}") from None
        try:
            policy = cls.model_validate(content)
        except ValidationError as problem:
            raise PolicyInvalid(describe(file, problem, _LEVELS)) from None
        policy._digest = digest(data)
        policy._file = file
        return policy


_LEVELS: Final[Mapping[tuple[str, ...], type[BaseModel]]] = {
    (): OwnerPolicy,
    ("admit",): AdmitRule,
    ("admit", "release"): ReleaseRule,
}
