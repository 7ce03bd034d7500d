"""What every pump promises, asked of every pump."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from device.drivers.ports import Pump
from device.drivers.serial_line import SerialLine
from device.drivers.serial_pump import SerialPump
from device.drivers.twin import TwinPump
from device.errors import HardwareError, InputError
from device.twin.world import SimulatedTime
from tests.contract.controllers import CONTROLLERS
from tests.worlds import small_world

FULL_ML_MIN = 8000.0


@dataclass
class Bench:
    pump: Pump
    sleep: Callable[[float], None]


@pytest.fixture(params=["twin", *CONTROLLERS])
def bench(request: pytest.FixtureRequest) -> Iterator[Bench]:
    if request.param == "twin":
        world = small_world(side_px=64)
        yield Bench(TwinPump(world), world.sleep)
        return
    controller, time = CONTROLLERS[request.param](), SimulatedTime()
    line = SerialLine(controller.port, timeout_s=1.0)
    pump = SerialPump(line, full_flow_ml_min=FULL_ML_MIN, monotonic=time.monotonic)
    yield Bench(pump, time.sleep)
    pump.close()
    controller.close()


def test_it_is_a_pump(bench: Bench) -> None:
    assert isinstance(bench.pump, Pump)


def test_it_is_off_and_closed_after_construction(bench: Bench) -> None:
    state = bench.pump.state
    assert state.acknowledged
    assert (state.flow_ml_min, state.valve_open) == (0.0, False)
    assert bench.pump.volume_ml() == 0


def test_it_tells_the_flow_that_was_acknowledged(bench: Bench) -> None:
    given = bench.pump.set_flow(6000.0)
    assert given.acknowledged
    assert given.flow_ml_min == pytest.approx(6000, abs=FULL_ML_MIN * 0.005)
    assert bench.pump.state == given
    assert bench.pump.set_flow(0.0).flow_ml_min == 0
    assert bench.pump.state.flow_ml_min == 0


def test_the_volume_is_flow_times_time_and_stays_when_the_pump_stops(bench: Bench) -> None:
    flow_ml_min = bench.pump.set_flow(6000.0).flow_ml_min
    bench.sleep(20.0)
    assert bench.pump.volume_ml() == pytest.approx(flow_ml_min / 3)
    bench.sleep(10.0)
    bench.pump.set_flow(0.0)
    bench.sleep(100.0)
    assert bench.pump.volume_ml() == pytest.approx(flow_ml_min / 2)


def test_a_change_of_flow_counts_each_for_its_time(bench: Bench) -> None:
    first = bench.pump.set_flow(6000.0).flow_ml_min
    bench.sleep(30.0)
    second = bench.pump.set_flow(2000.0).flow_ml_min
    bench.sleep(30.0)
    bench.pump.set_flow(0.0)
    assert bench.pump.volume_ml() == pytest.approx((first + second) / 2)


def test_the_valve_opens_and_closes_whatever_the_pump_does(bench: Bench) -> None:
    flow_ml_min = bench.pump.set_flow(4000.0).flow_ml_min
    assert bench.pump.set_valve(True).valve_open
    assert (bench.pump.state.valve_open, bench.pump.state.flow_ml_min) == (True, flow_ml_min)
    assert not bench.pump.set_valve(False).valve_open
    assert bench.pump.state.flow_ml_min == flow_ml_min


@pytest.mark.parametrize("flow_ml_min", [-1.0, 1e9, float("nan")])
def test_a_flow_out_of_range_is_refused_and_leaves_it_off(bench: Bench, flow_ml_min: float) -> None:
    bench.pump.set_flow(4000.0)
    with pytest.raises(InputError, match="out of range"):
        bench.pump.set_flow(flow_ml_min)
    assert bench.pump.state.acknowledged
    assert bench.pump.state.flow_ml_min == 0


def test_closing_twice_is_safe_and_then_it_refuses(bench: Bench) -> None:
    bench.pump.set_flow(4000.0)
    bench.pump.close()
    bench.pump.close()
    with pytest.raises(HardwareError):
        bench.pump.set_flow(1000.0)
