"""What a configuration asks of the box before anything is touched: each raises where it can't be had, and says what mends it."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path

from device.config import Config
from device.errors import HardwareError, InputError
from device.messaging.address import parse_url, password_of
from device.messaging.certificates import certificates_of

__all__ = [
    "refuse_long_strobe",
    "refuse_missing_broker",
    "refuse_missing_port",
    "refuse_sizes",
    "refuse_unknown_morphologies",
]


def refuse_long_strobe(config: Config) -> None:
    """InputError where the light's pulse doesn't lie within the exposure."""
    delay_us, width_us = config.lamp.strobe_delay_us, config.lamp.strobe_width_us
    if width_us and delay_us + width_us > config.camera.exposure_us:
        raise InputError(
            "the strobe outlasts the exposure", where="lamp.strobe_width_us",
            expected=f"delay and width of at most {config.camera.exposure_us:g} us together",
            got=f"{delay_us:g} + {width_us:g} us", remedy="Shorten the strobe, or raise camera.exposure_us.",
        )  # fmt: skip


def refuse_sizes(config: Config) -> None:
    """InputError where no particle could be reported."""
    analysis = config.analysis
    if analysis.min_esd_um >= analysis.max_esd_um:
        raise InputError(
            "no particle could be between these sizes", where="analysis.min_esd_um",
            expected=f"less than analysis.max_esd_um, {analysis.max_esd_um:g}", got=f"{analysis.min_esd_um:g}",
            remedy="Lower analysis.min_esd_um, or raise analysis.max_esd_um.",
        )  # fmt: skip


def refuse_unknown_morphologies(config: Config) -> None:
    """InputError where the simulated instrument is to hold what it can't draw."""
    if config.camera.driver != "twin":
        return
    from device.twin.morphology import MORPHOLOGIES

    unknown = sorted(set(config.twin.concentration_per_m3) - set(MORPHOLOGIES))
    if unknown:
        raise InputError(
            "unknown morphology", where="twin.concentration_per_m3", expected=" | ".join(sorted(MORPHOLOGIES)), got=unknown[0],
            remedy="Correct [twin.concentration_per_m3] in the configuration.",
        )  # fmt: skip


def refuse_missing_port(config: Config) -> None:
    """InputError where something is on the controller and nobody said where that is."""
    serial = [name for name in ("lamp", "pump", "environment") if getattr(config, name).driver == "serial"]
    if serial and not config.controller.port:
        raise InputError(
            "nobody said where the controller is", where="controller.port",
            expected=f'a device file for {", ".join(f"{name}.driver" for name in serial)} = "serial"', got='""',
            remedy="ls /dev/serial/by-id shows its name for controller.port.",
        )  # fmt: skip


def refuse_missing_broker(config: Config) -> None:
    """InputError where the broker's URL, password or certificates can't be used; HardwareError where there is none at all."""
    if config.mqtt.url:
        address = parse_url(config.mqtt.url)
        password_of(config.mqtt)
        certificates_of(config.mqtt, config.device.id, tls=address.tls)
    elif not (own_mosquitto() or importlib.util.find_spec("amqtt")):
        raise HardwareError(
            "no broker is configured, and none is installed", where="mqtt.url", remedy="apt-get install mosquitto"
        )


def own_mosquitto() -> bool:
    """Whether the broker that the service starts by itself is installed."""
    return bool(shutil.which("mosquitto")) or Path("/usr/sbin/mosquitto").exists()
