"""Nothing could be chosen: the error, with the values that a search for the nearest change starts from."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytorch_offline.errors import UnsatisfiableError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from packaging.utils import NormalizedName
    from packaging.version import Version

    from pytorch_offline.selector.model import Rejection


class NothingFitsError(UnsatisfiableError):
    """An ``UnsatisfiableError`` that keeps what was found out on the way.

    Args:
        code: as every error's.
        message: as every error's.
        facts: as every error's.
        hint: as every error's.
        project: the project that no wheel could be found of; None where requirements contradict each other.
        fitting: versions of that project, outside what was asked for, with a wheel that fits the target.
        rejected: the wheels and backends that were asked for, and the rule that each failed.
        beyond: other wheels of that project that fail a rule, which no bound on the version admits.
    """

    def __init__(
        self,
        code: str,
        message: str,
        *,
        facts: Mapping[str, object] | None = None,
        hint: str | None = None,
        project: NormalizedName | None = None,
        fitting: Iterable[Version] = (),
        rejected: Iterable[Rejection] = (),
        beyond: Iterable[Rejection] = (),
    ) -> None:
        super().__init__(code, message, facts=facts, hint=hint)
        self.project = project
        self.fitting = tuple(fitting)
        self.rejected = tuple(rejected)
        self.beyond = tuple(beyond)
