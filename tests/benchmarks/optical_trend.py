"""How soon the trend of the optics finds what it should, and how often it finds what isn't there.

`python -m tests.benchmarks.optical_trend [--boxes 200]`: figures of simulated boxes, one look an hour for 30 days, with the noise
told below; no frames are rendered.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np

from device.analysis.optical_health import GRID, BackgroundFigures, background_figures
from device.health.trend import FIGURES, OpticsObservation, OpticsTrend
from device.instrument import load_instrument

START = datetime(2026, 5, 1, tzinfo=UTC)
DAYS, CLEAN_EVERY = 30, 12

Change = Callable[[float], dict[str, float]]
"""Days since the start -> what is different: light and sharpness as factors, dirt, fringes and stuck as sums."""

CHANGES: dict[str, tuple[str, Change]] = {
    "nothing": ("", lambda _: {}),
    "lamp dims 1 % a day": ("level", lambda day: {"light": 1 - 0.01 * day}),
    "lamp loses 20 % at once on day 10": ("level", lambda day: {"light": 0.8 if day > 10 else 1.0}),
    "window fouls, 0.4 % contrast a day": ("dirt", lambda day: {"dirt": 0.004 * day, "light": 1 - 0.002 * day}),
    "cover glass comes loose on day 10: fringes of 5 %": ("fringes", lambda day: {"fringes": 0.05 if day > 10 else 0.0}),
    "source and focus blur by 3 % a day": ("sharpness", lambda day: {"sharpness": 1 - 0.03 * min(day, 20)}),
    "5 cells a day are stuck with particles": ("stuck", lambda day: {"stuck": 5.0 * day}),
    "exposed too long from day 10": ("saturated", lambda day: {"saturated": 0.01 if day > 10 else 0.0}),
}


@dataclass(frozen=True)
class Noise:
    """What moves the figures of a sound box."""

    day_night: float = 0.015
    """Half of the swing of the light between day and night: 10 K at -0.3 % per kelvin."""
    weather: float = 0.01
    """Of the daily mean of the light, one standard deviation, remembered with 0.7 from day to day."""
    shot: float = 0.004
    """Of the light from frame to frame."""
    particles: float = 0.22
    """Of the sharpness from frame to frame, as rendered."""
    season: float = 0.05
    """Of the sharpness by the mix of particles from day to day, remembered as the weather is."""
    dirt: float = 0.001
    fringes: float = 0.0005


def wandering(rng: np.random.Generator, spread: float, days: int, memory: float = 0.7) -> np.ndarray:
    """Daily values that remember, one standard deviation `spread`."""
    values = np.zeros(days)
    values[0] = rng.normal(0, spread)
    for k in range(1, days):
        values[k] = memory * values[k - 1] + rng.normal(0, spread * np.sqrt(1 - memory**2))
    return values


def told(seed: int, change: Change, noise: Noise = Noise(), days: int = DAYS) -> list[tuple[float, str]]:
    """(day, figure) of every drift that was told of one box."""
    rng = np.random.default_rng(seed)
    trend = OpticsTrend(lambda _: None, "box")
    weather, season = wandering(rng, noise.weather, days), wandering(rng, noise.season, days)
    found: list[tuple[float, str]] = []
    for hour in range(24 * days):
        day = hour / 24
        now = {"light": 1.0, "sharpness": 1.0, "dirt": 0.0, "fringes": 0.0, "stuck": 0.0, "saturated": 0.0} | change(day)
        light = (1 + weather[hour // 24] + noise.day_night * np.sin(2 * np.pi * day) + rng.normal(0, noise.shot)) * now["light"]
        marks = np.zeros(GRID * GRID, bool)
        marks[: 8 + round(now["stuck"])] = True
        marks[rng.integers(marks.size, size=10)] = True
        figures = BackgroundFigures(
            float(0.28 * light),
            now["saturated"] + float(rng.exponential(1e-5)),
            0.0067 + now["dirt"] + abs(rng.normal(0, noise.dirt)),
            0.001 + now["fringes"] + abs(rng.normal(0, noise.fringes)),
            marks.reshape(GRID, GRID),
        )
        seen = 0.45 * now["sharpness"] * (1 + season[hour // 24] + rng.normal(0, noise.particles))
        clean = hour % CLEAN_EVERY == 0
        for notice in trend.add(OpticsObservation(figures, clean, float(seen)), START + timedelta(hours=hour)):
            if notice.code == "optics_drift":
                words = notice.message.removeprefix("the optics drift: ")
                found.append((day, next(name for name, figure in FIGURES.items() if words.startswith(figure.words))))
    return found


def report(boxes: int) -> None:
    """Print a line a change."""
    for name, (figure, change) in CHANGES.items():
        runs = [told(seed, change) for seed in range(boxes)]
        others = Counter(found for run in runs for _, found in run if found != figure)
        if not figure:
            alarms = sum(others.values())
            print(f"{name}: {alarms} alarms in {boxes} boxes x {DAYS} days {dict(others) if others else ''}")
            continue
        first = [min((day for day, found in run if found == figure), default=np.inf) for run in runs]
        days = np.percentile(first, [5, 50, 95])
        print(
            f"{name}: {figure} found in {np.isfinite(first).mean():.0%} of {boxes} boxes, on day {days[1]:.1f} "
            f"({days[0]:.1f} to {days[2]:.1f}); others told: {dict(others) if others else 'none'}"
        )


def cost(rounds: int = 20) -> None:
    """Print what the figures of one frame take."""
    sensor = load_instrument("bioaerosol-imx219-850nm").sensor
    pixels = np.random.default_rng(0).poisson(330, (sensor.height_px, sensor.width_px)).astype(np.uint16)
    background_figures(pixels, sensor)
    started_s = time.perf_counter()
    for _ in range(rounds):
        background_figures(pixels, sensor)
    print(
        f"figures of a background of {pixels.size / 2**20:.0f} megapixel: {(time.perf_counter() - started_s) / rounds * 1e3:.1f} ms"
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--boxes", type=int, default=200)
    cost()
    report(parser.parse_args().boxes)
