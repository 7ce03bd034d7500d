"""One error root, subclasses by what mends them.

Every error is one clear paragraph: what happened, where, what was expected, what was got, what to do.
"""

from __future__ import annotations

__all__ = ["CheckError", "HardwareError", "HolonodeError", "InputError", "TransientError"]


class HolonodeError(Exception):
    """The root of every error Holonode raises on purpose.

    Parameters are plain text; `str()` of the error is the paragraph a person reads.
    """

    exit_status = 1

    def __init__(
        self,
        what: str,
        *,
        where: object = None,
        expected: object = None,
        got: object = None,
        remedy: str | None = None,
    ) -> None:
        self.what = what
        self.where = where
        self.expected = expected
        self.got = got
        self.remedy = remedy
        super().__init__(self._paragraph())

    def _paragraph(self) -> str:
        parts = [self.what.rstrip(".")]
        if self.where is not None:
            parts[0] += f" (in {self.where})"
        if self.expected is not None:
            parts.append(f"expected {self.expected}")
        if self.got is not None:
            parts.append(f"got {self.got}")
        text = "; ".join(parts) + "."
        return f"{text} {self.remedy}" if self.remedy else text


class InputError(HolonodeError):
    """Bad input or configuration: the user changes it and runs again."""

    exit_status = 2


class HardwareError(HolonodeError):
    """Hardware that is missing or doesn't answer: a person looks at the box."""

    exit_status = 3


class CheckError(HolonodeError):
    """A check that failed (digest, self-test, preflight): the thing checked must not be used."""

    exit_status = 4


class TransientError(HolonodeError):
    """Something outside that may work later (broker, disk): retried, with back-off."""
