"""The controller's firmware, pin by pin, on a simulated ATmega328P."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator

import pytest
import serial

from device.drivers.serial_lamp import SerialLamp
from device.drivers.serial_line import SerialLine
from device.drivers.serial_protocol import ControllerCommand, PacketKind
from device.drivers.serial_pump import SerialPump
from device.drivers.serial_sensors import SerialEnvironment
from device.errors import HardwareError
from tests.firmware import Firmware

STEP_MA = 50 / 255
TIMEOUT_S = 1.0


@pytest.fixture(autouse=True)
def no_keep_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its wall time has nothing to do with the controller's."""
    monkeypatch.setattr("device.drivers.serial_line._KEEP_ALIVE_S", 3600.0)


@pytest.fixture
def firmware() -> Iterator[Firmware]:
    made = Firmware()
    yield made
    made.close()


@pytest.fixture
def line(firmware: Firmware) -> Iterator[SerialLine]:
    made = SerialLine(firmware.port, timeout_s=TIMEOUT_S).share()
    yield made
    made.close()


@pytest.fixture
def lamp(line: SerialLine) -> Iterator[SerialLamp]:
    made = SerialLamp(line)
    yield made
    made.close()


@pytest.fixture
def pump(line: SerialLine) -> Iterator[SerialPump]:
    made = SerialPump(line, full_flow_ml_min=8000.0, meter_ml_per_pulse=2.0)
    yield made
    made.close()


def test_everything_is_off_before_anybody_asks(firmware: Firmware) -> None:
    assert firmware.light() == (0, 0.0)
    assert (firmware.pump(), firmware.valve()) == (0.0, False)


@pytest.mark.parametrize("channel", [0, 1])
def test_the_current_that_is_acknowledged_is_the_one_at_the_pins(firmware: Firmware, lamp: SerialLamp, channel: int) -> None:
    for current_ma in (50.0, 20.0, 0.3, 12.5):
        given = lamp.set_current(current_ma, channel)
        # The wire carries whole microamperes.
        assert firmware.light() == (channel, pytest.approx(given.current_ma, abs=0.001))
        assert given.current_ma == pytest.approx(current_ma, abs=STEP_MA / 2 + 0.001)
    lamp.off()
    assert firmware.light() == (0, 0.0)


def test_other_lamp_drivers_are_told_to_the_firmware_when_it_is_built() -> None:
    firmware = Firmware(full_scale_ma=100.0)
    line = SerialLine(firmware.port, timeout_s=TIMEOUT_S).share()
    lamp = SerialLamp(line, max_current_ma=100.0)
    try:
        assert lamp.set_current(100.0).current_ma == pytest.approx(100.0)
        assert firmware.light() == (0, pytest.approx(100.0))
        assert not line.ask(PacketKind.LAMP, 0, 100_001).acknowledged
    finally:
        lamp.close()
        line.close()
        firmware.close()


def test_one_channel_at_a_time(firmware: Firmware, lamp: SerialLamp) -> None:
    lamp.set_current(20.0, 0)
    lamp.set_current(10.0, 1)
    assert firmware.light() == (1, pytest.approx(10.0, abs=STEP_MA))


@pytest.mark.parametrize(
    ("kind", "arguments"),
    [
        (PacketKind.LAMP, (2, 1000)), (PacketKind.LAMP, (0, 50_001)), (PacketKind.LAMP, (0, 2**32 - 1)), (PacketKind.STROBE, (19, 100)),
        (PacketKind.STROBE, (100, 16_001)), (PacketKind.STROBE, (0, 100)), (PacketKind.PUMP, (10_001,)), (PacketKind.VALVE, (2,)),
    ],
)  # fmt: skip
def test_what_is_refused_changes_nothing(
    firmware: Firmware, line: SerialLine, lamp: SerialLamp, pump: SerialPump, kind: PacketKind, arguments: tuple[int, ...]
) -> None:
    lamp.set_current(20.0)
    pump.set_flow(4000.0)
    before = firmware.light(), firmware.pump(), firmware.valve()
    known = line.ask(PacketKind.QUERY).status
    answer = line.ask(kind, *arguments)
    assert not answer.acknowledged
    assert answer.status.to_bytes()[:27] == known.to_bytes()[:27]
    assert (firmware.light(), firmware.pump(), firmware.valve()) == before


def test_pump_and_valve_follow(firmware: Firmware, pump: SerialPump) -> None:
    given = pump.set_flow(6000.0)
    assert firmware.pump() == pytest.approx(given.flow_ml_min / 8000, abs=1e-4)
    pump.set_valve(True)
    assert firmware.valve()
    pump.close()
    assert (firmware.pump(), firmware.valve()) == (0.0, False)


def test_the_flow_meter_counts(firmware: Firmware, pump: SerialPump) -> None:
    firmware.pulse_flow(37)
    assert pump.volume_ml() == pytest.approx(74.0)


def all_on(lamp: SerialLamp, pump: SerialPump) -> None:
    lamp.set_current(20.0)
    pump.set_flow(6000.0)
    pump.set_valve(True)


def everything_is_off(firmware: Firmware) -> bool:
    return (firmware.light(), firmware.pump(), firmware.valve()) == ((0, 0.0), 0.0, False)


@pytest.mark.parametrize("how", ["reset", "hang"])
def test_lamp_and_pump_are_off_after_reset_and_watchdog_and_the_driver_knows(
    firmware: Firmware, line: SerialLine, lamp: SerialLamp, pump: SerialPump, how: str
) -> None:
    all_on(lamp, pump)
    getattr(firmware, how)()
    assert everything_is_off(firmware)
    assert not lamp.state.acknowledged
    assert not pump.state.acknowledged
    assert line.resets == 1
    assert line.ask(PacketKind.QUERY).status.reset_cause == (8 if how == "hang" else 0)
    assert lamp.set_current(20.0).is_on


def test_lamp_and_pump_are_off_after_ten_seconds_of_silence(firmware: Firmware, lamp: SerialLamp, pump: SerialPump) -> None:
    all_on(lamp, pump)
    firmware.advance(9.0)
    assert firmware.light()[1] > 0
    firmware.advance(1.5)
    assert everything_is_off(firmware)
    # The same start of the controller: its state is known, and is off.
    assert lamp.state.acknowledged
    assert not lamp.state.is_on


def test_what_is_no_question_does_not_end_silence(firmware: Firmware, lamp: SerialLamp) -> None:
    lamp.set_current(20.0)
    rng = random.Random(1)
    wrong = ControllerCommand(PacketKind.QUERY, 1).to_bytes()
    for _ in range(11):
        firmware.to_controller(rng.randbytes(40) + b"\x00" + bytes([wrong[0], wrong[1] ^ 1]) + wrong[2:])
        firmware.advance(1.0)
    assert firmware.light() == (0, 0.0)


def test_every_flipped_bit_of_a_question_goes_unanswered(firmware: Firmware) -> None:
    wire = ControllerCommand(PacketKind.LAMP, 9, (1, 20_000)).to_bytes()
    with serial.Serial(firmware.port, timeout=0.0) as port:
        for bit in range(8 * (len(wire) - 1)):
            flipped = bytearray(wire)
            flipped[bit // 8] ^= 1 << bit % 8
            # A bit that makes a delimiter leaves a rest that must not spoil the next packet.
            port.write(bytes(flipped) + b"\x00")
            firmware.advance(0.01)
        assert port.read(1000) == b""
        assert firmware.light() == (0, 0.0)
        port.write(wire)
        firmware.advance(0.02)
        assert port.read(1000) != b""
        assert firmware.light()[0] == 1


def test_a_flood_of_noise_is_passed_over(firmware: Firmware, lamp: SerialLamp) -> None:
    rng = random.Random(2)
    for _ in range(50):
        firmware.to_controller(rng.randbytes(300))
        firmware.to_host(rng.randbytes(60))
        assert lamp.set_current(20.0).is_on


@pytest.mark.parametrize("strobe_us", [(20.0, 20.0), (100.0, 2000.0), (16_000.0, 16_000.0)])
def test_every_frame_gets_its_pulse_with_the_width_and_delay_that_were_set(
    firmware: Firmware, lamp: SerialLamp, strobe_us: tuple[float, float]
) -> None:
    lamp.set_strobe(*strobe_us)
    given = lamp.set_current(20.0, 1)
    assert (given.strobe_delay_us, given.strobe_width_us) == strobe_us
    assert firmware.light() == (0, 0.0), "dark between frames"
    firmware.frame(30)
    assert len(firmware.strobes_us) == 30
    for delay_us, width_us in firmware.strobes_us:
        assert delay_us == pytest.approx(strobe_us[0], abs=1.0)
        assert width_us == pytest.approx(strobe_us[1], abs=0.6)
    reading = lamp.read()
    assert (reading.triggers, reading.strobes) == (30, 30)
    lamp.off()
    firmware.frame(5)
    assert len(firmware.strobes_us) == 30
    assert lamp.read().triggers == 35
    assert lamp.read().strobes == 30


def test_a_strobe_survives_in_the_driver_what_the_controller_forgets(firmware: Firmware, lamp: SerialLamp) -> None:
    lamp.set_strobe(100.0, 500.0)
    firmware.reset()
    lamp.set_current(20.0)
    assert firmware.light() == (0, 0.0)
    firmware.frame(2)
    assert [round(width_us) for _, width_us in firmware.strobes_us] == [500, 500]


@pytest.mark.parametrize("celsius", [-20.0, 0.0, 25.0, 60.0])
def test_temperature_of_the_thermistor(firmware: Firmware, line: SerialLine, celsius: float) -> None:
    ohm = 10_000 * math.exp(3977 * (1 / (celsius + 273.15) - 1 / 298.15))
    firmware.set_sensors(0.0, ohm / (ohm + 10_000), 0.0, 0.0, 0.5)
    assert SerialEnvironment(line).read().temperature_c == pytest.approx(celsius, abs=0.4)


def test_sensors_that_are_not_connected_read_none(firmware: Firmware, line: SerialLine) -> None:
    firmware.set_sensors(0.0, 0.0, 0.0, 0.0, 0.0)
    reading = SerialEnvironment(line).read()
    assert reading.temperature_c is None
    assert reading.humidity_percent is None
    assert reading.pressure_hpa is None
    assert reading.supply_v is None


def test_ratiometric_sensors_do_not_see_the_supply(firmware: Firmware, line: SerialLine) -> None:
    for supply_v in (4.75, 5.25):
        firmware.set_sensors(0.0, 0.5, 0.5, 0.8, 2.5 / supply_v, supply_v=supply_v)
        reading = SerialEnvironment(line).read()
        assert reading.supply_v == pytest.approx(supply_v, abs=0.03)
        assert reading.temperature_c == pytest.approx(25.0, abs=0.2)
        assert reading.pressure_hpa == pytest.approx(994.4, abs=2.0)


def test_a_pulled_cable_is_found_again_under_its_new_name(firmware: Firmware) -> None:
    lamp = SerialLamp(SerialLine(firmware.names.glob, timeout_s=TIMEOUT_S))
    lamp.set_current(20.0)
    firmware.unplug()
    with pytest.raises(HardwareError):
        lamp.set_current(10.0)
    assert firmware.light()[1] == pytest.approx(20.0), "nobody told it"
    firmware.advance(10.5)
    assert firmware.light() == (0, 0.0), "silence did"
    firmware.plug()
    assert not lamp.state.is_on
    assert lamp.set_current(10.0).is_on
    lamp.close()


def test_no_start_repeats_a_boot_id(firmware: Firmware, line: SerialLine) -> None:
    seen = {line.ask(PacketKind.QUERY).status.boot_id}
    for _ in range(20):
        firmware.reset()
        seen.add(line.ask(PacketKind.QUERY).status.boot_id)
    assert len(seen) == 21
    assert 0 not in seen


def test_the_boot_id_passes_over_zero() -> None:
    firmware = Firmware(boots=0xFFFF)
    line = SerialLine(firmware.port, timeout_s=TIMEOUT_S).share()
    assert line.ask(PacketKind.QUERY).status.boot_id == 1
    line.close()
    firmware.close()
