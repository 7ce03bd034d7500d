"""The whole service: simulated camera and air, lamp, pump and sensors by the serial protocol on the real firmware."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from device.instrument import load_instrument
from tests.brokers import Subscriber, broker
from tests.firmware import Firmware
from tests.services import Service

SERIAL = """
[controller]
port = "{port}"
acknowledge_timeout_s = 2.0
[lamp]
driver = "serial"
[pump]
driver = "serial"
full_flow_ml_min = 20000
[environment]
driver = "serial"
"""


@pytest.fixture
def firmware() -> Iterator[Firmware]:
    made = Firmware()
    made.set_sensors(0.5, 0.5, 0.5, 0.8, 0.5)
    yield made
    made.close()


def test_intervals_come_out_of_the_simulated_instrument_through_the_real_protocol(tmp_path: Path, firmware: Firmware) -> None:
    with broker(tmp_path / "broker") as running:
        listener = Subscriber(running.port)
        service = Service.configured(tmp_path, running.url, mqtt=SERIAL.format(port=firmware.port))
        service.start()
        try:
            stats = listener.until("stats", timeout_s=120)
            interval = listener.until("intervals", timeout_s=200)
            firmware.unplug()
            event = listener.until("events", timeout_s=200, code="hardware_failed")
        finally:
            service.stop()
            listener.close()
    assert stats["environment"]["temperature_c"] == pytest.approx(25.0, abs=0.5)
    assert stats["environment"]["supply_v"] == pytest.approx(5.0, abs=0.05)
    # 2 L, of which the instrument collects its share; the pump's PWM has 255 steps.
    collected = load_instrument("bioaerosol-imx219-850nm").fluidics.collection_fraction
    assert interval["volume_m3"] == pytest.approx(2e-3 * collected, rel=0.01)
    assert interval["counts"]["total"]["n"] > 0
    # What finds the cable pulled depends on where in a sample it was.
    found = ("controller doesn't answer", "pump didn't run through the sample", "lamp's state during the frame isn't known")
    assert any(said in event["message"] for said in found)


def test_a_service_that_ends_leaves_everything_off(tmp_path: Path, firmware: Firmware) -> None:
    service = Service.configured(tmp_path, "mqtt://127.0.0.1:9", intervals=1, mqtt=SERIAL.format(port=firmware.port))
    status, output = service.run(120)
    assert status == 0, output
    assert (firmware.light(), firmware.pump(), firmware.valve()) == ((0, 0.0), 0.0, False)
