"""A short part of the campaign of bent recordings."""

from __future__ import annotations

from tests.faults.recording_fuzz import campaign


def test_bent_recordings_give_frames_or_an_error_and_end_nothing() -> None:
    good, figures = campaign(140, each=140)
    assert good, figures
