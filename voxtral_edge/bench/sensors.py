"""Temperature, clock, throttling and power of the machine, sampled beside a run.

Whatever a system exposes is used: thermal zones and hwmon (Linux), RAPL (Intel and AMD), INA3221 (Jetson),
and `vcgencmd` (Raspberry Pi). Most need no privileges; RAPL often does. A source that cannot be read is left
out.
"""

from __future__ import annotations

import shutil
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path("/")
_RAPL_SCOPE = "CPU package"
_JETSON_TOTALS = ("VDD_IN", "SYS5V", "VIN_SYS_5V0")
_COMMAND_SECONDS = 2.0


class Sensors:
    """Everything readable on this machine. `root` replaces / in tests; `command` runs a program, returning
    its output or None."""

    def __init__(self, root: Path = ROOT, command: Callable[[list[str]], str | None] | None = None) -> None:
        self._root = root
        self._command = command or (_run if root == ROOT else lambda _: None)
        self._temperatures = dict(self._find_temperatures())
        self._clocks = sorted(root.glob("sys/devices/system/cpu/cpu[0-9]*/cpufreq/scaling_cur_freq"))
        self._throttle_counts = sorted(
            root.glob("sys/devices/system/cpu/cpu[0-9]*/thermal_throttle/core_throttle_count")
        )
        self._rapl = [
            zone
            for zone in sorted(root.glob("sys/class/powercap/intel-rapl:[0-9]*"))
            if zone.name.count(":") == 1 and _number(zone / "energy_uj") is not None
        ]
        self._rails = self._find_jetson_rails()
        self._pi = self._command(["vcgencmd", "get_throttled"]) is not None

    def temperatures(self) -> dict[str, float]:
        """Degrees Celsius by sensor."""
        values = {name: _number(path) for name, path in self._temperatures.items()}
        return {name: round(value / 1000.0, 1) for name, value in values.items() if value is not None}

    def clock_mhz(self) -> float | None:
        """Mean clock of the CPUs."""
        kilohertz = [value for path in self._clocks if (value := _number(path)) is not None]
        if kilohertz:
            return round(sum(kilohertz) / len(kilohertz) / 1000.0, 1)
        lines = _text(self._root / "proc/cpuinfo").splitlines()
        megahertz = [float(line.split(":")[1]) for line in lines if line.startswith("cpu MHz")]
        return round(sum(megahertz) / len(megahertz), 1) if megahertz else None

    def throttle_state(self) -> int | None:
        """A number that rises or shows bits when the chip was slowed down; None if the system does not say.

        Raspberry Pi: the bits of `vcgencmd get_throttled` (0 = never). Others: throttling events of all
        cores.
        """
        if self._pi:
            text = self._command(["vcgencmd", "get_throttled"]) or ""
            try:
                return int(text.partition("=")[2], 0)
            except ValueError:
                return None
        counts = [value for path in self._throttle_counts if (value := _number(path)) is not None]
        return int(sum(counts)) if counts else None

    def throttled_between(self, states: list[int]) -> bool:
        """Whether the chip was slowed down while these states were read."""
        # Pi: bits 0..3 say "now", bits 16..19 "since it started".
        return len(set(states)) > 1 or (self._pi and any(state & 0xF for state in states))

    def power_source(self) -> str | None:
        """What `joules` or `watts` measure, in words."""
        if self._rapl:
            return f"RAPL ({_RAPL_SCOPE})"
        if self._rails:
            return f"INA3221 ({', '.join(self._rails)})"
        return "Raspberry Pi PMIC (rails, not the wall)" if self._pi and self._pi_watts() else None

    def joules(self) -> list[float] | None:
        """RAPL counters in joules, one per CPU package; they wrap at `joules_range`."""
        if not self._rapl:
            return None
        return [(_number(zone / "energy_uj") or 0.0) / 1e6 for zone in self._rapl]

    def joules_range(self) -> list[float]:
        """Where each RAPL counter starts over."""
        return [(_number(zone / "max_energy_range_uj") or 0.0) / 1e6 for zone in self._rapl]

    def watts(self) -> float | None:
        """Power at this moment, where the machine measures power rather than energy."""
        if self._rails:
            return sum((_number(v) or 0.0) * (_number(a) or 0.0) / 1e6 for v, a in self._rails.values())
        return self._pi_watts() if self._pi else None

    def _find_temperatures(self) -> list[tuple[str, Path]]:
        found = [
            (f"{_text(zone / 'type').strip() or zone.name}", zone / "temp")
            for zone in sorted(self._root.glob("sys/class/thermal/thermal_zone[0-9]*"))
        ]
        for chip in sorted(self._root.glob("sys/class/hwmon/hwmon[0-9]*")):
            name = _text(chip / "name").strip()
            if name in ("k10temp", "coretemp", "zenpower"):
                found += [(f"{name} {path.name[:-6]}", path) for path in sorted(chip.glob("temp*_input"))]
        return [(name, path) for name, path in found if _number(path) is not None]

    def _find_jetson_rails(self) -> dict[str, tuple[Path, Path]]:
        """{rail: (millivolt file, milliampere file)}: the board's input if there is one, else every rail."""
        rails: dict[str, tuple[Path, Path]] = {}
        for chip in sorted(self._root.glob("sys/bus/i2c/drivers/ina3221/*/hwmon/hwmon*")):
            for label in sorted(chip.glob("in*_label")):
                number = label.name[2:-6]
                pair = (chip / f"in{number}_input", chip / f"curr{number}_input")
                if all(_number(path) is not None for path in pair):
                    rails[_text(label).strip()] = pair
        totals = {name: pair for name, pair in rails.items() if name in _JETSON_TOTALS}
        return totals or rails

    def _pi_watts(self) -> float | None:
        """The sum of the PMIC's rails; the board's input is not measured, so what regulators lose is
        missing."""
        text = self._command(["vcgencmd", "pmic_read_adc"]) or ""
        values: dict[str, dict[str, float]] = {}
        for line in text.splitlines():
            name, _, reading = line.strip().partition(" ")
            rail, _, kind = name.rpartition("_")
            number = reading.partition("=")[2].rstrip("AV")
            try:
                values.setdefault(rail, {})[kind] = float(number)
            except ValueError:
                continue
        products = [rail["A"] * rail["V"] for rail in values.values() if {"A", "V"} <= rail.keys()]
        return sum(products) if products else None


class SensorTrace:
    """Samples the sensors every `interval_s` on a thread of its own, from `start` to `stop`."""

    def __init__(self, sensors: Sensors, interval_s: float = 1.0) -> None:
        self._sensors, self._interval_s = sensors, interval_s
        self._samples: list[dict[str, Any]] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="voxtral-edge-sensors", daemon=True)
        self._begun = 0.0
        self._joules_last: list[float] | None = None
        self._joules = 0.0

    def start(self) -> None:
        """Begins; the first sample is taken at once."""
        self._begun = time.monotonic()
        self._joules_last = self._sensors.joules()
        self._take()
        self._thread.start()

    def stop(self) -> dict[str, Any]:
        """Ends, and returns {"thermal": …, "energy": … or None, "trace": […]} as the report holds them."""
        self._stop.set()
        self._thread.join()
        self._take()
        return {"thermal": self._thermal(), "energy": self._energy(), "trace": self._samples}

    def _loop(self) -> None:
        while not self._stop.wait(self._interval_s):
            self._take()

    def _take(self) -> None:
        sample: dict[str, Any] = {"seconds": round(time.monotonic() - self._begun, 3)}
        if temperatures := self._sensors.temperatures():
            sample["celsius"] = temperatures
        for name, value in (
            ("clock_mhz", self._sensors.clock_mhz()),
            ("throttle", self._sensors.throttle_state()),
            ("watts", self._sensors.watts()),
        ):
            if value is not None:
                sample[name] = value
        self._add_joules()
        self._samples.append(sample)

    def _add_joules(self) -> None:
        now, last = self._sensors.joules(), self._joules_last
        if now is None or last is None:
            return
        for value, before, limit in zip(now, last, self._sensors.joules_range(), strict=True):
            self._joules += value - before + (limit if value < before else 0.0)
        self._joules_last = now

    def _thermal(self) -> dict[str, Any]:
        hottest = [max(sample["celsius"].values()) for sample in self._samples if "celsius" in sample]
        clocks = [sample["clock_mhz"] for sample in self._samples if "clock_mhz" in sample]
        states = [sample["throttle"] for sample in self._samples if "throttle" in sample]
        return {
            "celsius_start": hottest[0] if hottest else None,
            "celsius_max": max(hottest) if hottest else None,
            "clock_mhz_min": min(clocks) if clocks else None,
            "clock_mhz_max": max(clocks) if clocks else None,
            "throttled": self._sensors.throttled_between(states) if states else None,
        }

    def _energy(self) -> dict[str, Any] | None:
        seconds = self._samples[-1]["seconds"]
        source = self._sensors.power_source()
        powers = [sample["watts"] for sample in self._samples if "watts" in sample]
        if source is None or seconds <= 0:
            return None
        watts = sum(powers) / len(powers) if powers else self._joules / seconds
        return {
            "source": source,
            "watts": round(watts, 3),
            "joules": round(watts * seconds, 3),
            "seconds": seconds,
        }


def _run(command: list[str]) -> str | None:
    if shutil.which(command[0]) is None:
        return None
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=_COMMAND_SECONDS, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return result.stdout


def _number(path: Path) -> float | None:
    try:
        return float(path.read_text(encoding="ascii").strip())
    except (OSError, ValueError):
        return None


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
