"""Crops kept for a person: seen, labelled, and a label taken back."""

from __future__ import annotations

import contextlib
import re
import threading
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from device.errors import InputError
from device.storage.crop_pictures import brightfield_crop_picture, crop_picture
from device.storage.review import FOLDER, TAKEN_BACK, CropRecord, Entry, Label, ReviewFolder
from device.web.api.box import DashboardContext
from device.web.serving.answers import Content, RefusedError
from device.web.serving.routes import Endpoint, HttpRequest

__all__ = ["ReviewEndpoints"]

_ID = re.compile(r"[0-9A-HJKMNP-TV-Z]{26}")
_MOST_OPENED = 2000
"""Crops that are opened for one answer, the newest; those that were are remembered."""
_MOST_REMEMBERED = 20_000
_PICTURE_S = 86_400
"""A crop never changes."""


class _Gallery(Struct, frozen=True, forbid_unknown_fields=True):
    reason: Literal["uncertain", "inconsistent", "random"] | None = None
    label: Annotated[str, Meta(max_length=64)] | None = None
    """The person's where there is one, else the classifier's."""
    labelled: Literal["yes", "no"] | None = None
    sort: Literal["newest", "oldest", "score", "-score", "size", "-size"] = "newest"
    limit: Annotated[int, Meta(ge=1, le=200)] = 60
    after: Annotated[int, Meta(ge=0, le=1_000_000)] = 0
    """How many of them were seen."""


class _AskedPicture(Struct, frozen=True, forbid_unknown_fields=True):
    channel: Literal["amplitude", "phase", "brightfield"] = "amplitude"
    """`brightfield` is computed of the crop, for people to look at."""


class _Name(Struct, frozen=True, forbid_unknown_fields=True):
    label: Annotated[str, Meta(min_length=1, max_length=64)]


class ReviewEndpoints:
    """The routes."""

    def __init__(self, box: DashboardContext) -> None:
        self._folder = ReviewFolder(box.folder / FOLDER)
        self._box = box
        self._about: dict[str, CropRecord] = {}
        self._lock = threading.Lock()

    def endpoints(self) -> list[Endpoint]:
        """Of the gallery."""
        return [
            Endpoint("GET", "/api/particles", "viewer", self._list),
            Endpoint("GET", "/api/particles/{name}", "viewer", self._picture),
            Endpoint("PUT", "/api/particles/{id}/label", "operator", self._label),
            Endpoint("DELETE", "/api/particles/{id}/label", "operator", self._unlabel),
        ]

    def _list(self, request: HttpRequest) -> dict[str, Any]:
        """`next` goes into `after`; `looked_at` of `kept` were opened, the newest."""
        asked = request.query_as(_Gallery)
        labels, _ = self._folder.labels()
        kept = self._folder.entries()
        found = [entry for entry in kept if asked.reason in (None, entry.reason)]
        if asked.labelled is not None:
            found = [entry for entry in found if (entry.id in labels) == (asked.labelled == "yes")]
        looked_at = len(found)
        if asked.label is None and asked.sort in ("newest", "oldest"):
            # Only what is shown is opened.
            found = found[:: 1 if asked.sort == "newest" else -1]
            page = self._opened(found[asked.after : asked.after + asked.limit])
        else:
            looked_at = min(looked_at, _MOST_OPENED)
            opened = [about for about in self._opened(found[:looked_at]) if asked.label in (None, _named(about, labels))]
            _sort(opened, asked.sort)
            found, page = opened, opened[asked.after : asked.after + asked.limit]
        shown = [_shown(about, labels.get(about.id)) for about in page]
        end = asked.after + asked.limit
        return {
            "particles": shown, "next": end if end < len(found) else None, "total": len(found), "kept": len(kept), "looked_at": looked_at,
        }  # fmt: skip

    def _opened(self, entries: list[Entry]) -> list[CropRecord]:
        """What is known of each; those that are gone meanwhile, or damaged, are passed over."""
        with self._lock:
            if len(self._about) > _MOST_REMEMBERED:
                self._about.clear()
            for entry in entries:
                if entry.id not in self._about:
                    with contextlib.suppress(InputError):
                        self._about[entry.id] = self._folder.about(entry)
            return [self._about[entry.id] for entry in entries if entry.id in self._about]

    def _picture(self, request: HttpRequest) -> Content:
        crop_id = request.path["name"].removesuffix(".png")
        channel = request.query_as(_AskedPicture).channel
        entry = self._entry(crop_id)
        crop = self._folder.read(entry) if entry else None
        if crop is None:
            raise _gone(crop_id)
        if channel == "brightfield":
            geometry, _ = self._box.geometry()
            return Content(brightfield_crop_picture(crop, geometry.wavelength_um), "image/png")
        return Content(crop_picture(crop, channel), "image/png", keep_s=_PICTURE_S)

    def _label(self, request: HttpRequest) -> Label:
        return self._labelled(request, request.body_as(_Name).label)

    def _unlabel(self, request: HttpRequest) -> Label:
        return self._labelled(request, TAKEN_BACK)

    def _labelled(self, request: HttpRequest, name: str) -> Label:
        crop_id = request.path["id"]
        if not _ID.fullmatch(crop_id):
            raise _gone(crop_id)
        (outcome,) = self._folder.label([(crop_id, name)], request.by)
        if isinstance(outcome, InputError):
            raise _gone(crop_id) if self._entry(crop_id) is None else outcome
        return outcome

    def _entry(self, crop_id: str) -> Entry | None:
        return self._folder.entry(crop_id) if _ID.fullmatch(crop_id) else None


def _gone(crop_id: str) -> RefusedError:
    return RefusedError(
        404, "no picture is kept of this particle", where="id", got=crop_id[:64],
        remedy="Only uncertain ones and a random share are kept (review.budget_mb, review.random_share); the oldest make room.",
    )  # fmt: skip


def _named(about: CropRecord, labels: dict[str, Label]) -> str:
    label = labels.get(about.id)
    return about.label if label is None else label.label


def _sort(found: list[CropRecord], sort: str) -> None:
    key = sort.removeprefix("-")
    if key == "score":
        found.sort(key=lambda about: -1.0 if about.score is None else about.score, reverse=sort.startswith("-"))
    elif key == "size":
        found.sort(key=lambda about: about.esd_um, reverse=sort.startswith("-"))
    elif key == "oldest":
        found.reverse()


def _shown(about: CropRecord, label: Label | None) -> dict[str, Any]:
    return msgspec.to_builtins(about) | {
        "person_label": None if label is None else label.label, "labelled": None if label is None else msgspec.to_builtins(label),
    }  # fmt: skip
