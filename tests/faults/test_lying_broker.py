"""Three of the lying brokers; `python -m tests.faults.lying_broker` meets them all."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.lying_broker import Verdict, denied, denied_and_hung_up, unheard


@pytest.mark.parametrize("case", [denied, denied_and_hung_up, unheard])
def test_a_broker_that_does_not_deliver_is_told_of_and_forgets_nothing(case: Callable[[Path], Verdict], tmp_path: Path) -> None:
    verdict = case(tmp_path)
    assert verdict.forgotten == 0, verdict
    assert verdict.waiting == 0, verdict
    assert verdict.told, verdict
