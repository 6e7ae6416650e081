"""Temperature, clock, throttling and energy from made-up system folders: a laptop, a Jetson, a Raspberry
Pi."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from voxtral_edge.bench.sensors import Sensors, SensorTrace


def put(root: Path, path: str, value: object) -> Path:
    file = root / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f"{value}\n")
    return file


def test_nothing_to_read_is_nothing_reported(tmp_path: Path) -> None:
    sensors = Sensors(tmp_path)
    assert (sensors.temperatures(), sensors.clock_mhz(), sensors.throttle_state()) == ({}, None, None)
    assert (sensors.power_source(), sensors.joules(), sensors.watts()) == (None, None, None)
    trace = SensorTrace(sensors, 0.01)
    trace.start()
    result = trace.stop()
    assert result["energy"] is None and result["thermal"]["throttled"] is None
    assert result["thermal"]["celsius_max"] is None and len(result["trace"]) >= 2


def test_laptop(tmp_path: Path) -> None:
    put(tmp_path, "sys/class/thermal/thermal_zone0/type", "x86_pkg_temp")
    put(tmp_path, "sys/class/thermal/thermal_zone0/temp", 51_500)
    put(tmp_path, "sys/class/hwmon/hwmon3/name", "k10temp")
    put(tmp_path, "sys/class/hwmon/hwmon3/temp1_input", 60_250)
    put(tmp_path, "sys/class/hwmon/hwmon4/name", "nvme")
    put(tmp_path, "sys/class/hwmon/hwmon4/temp1_input", 99_000)
    put(tmp_path, "sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq", 3_000_000)
    put(tmp_path, "sys/devices/system/cpu/cpu1/cpufreq/scaling_cur_freq", 2_000_000)
    events = put(tmp_path, "sys/devices/system/cpu/cpu0/thermal_throttle/core_throttle_count", 5)
    energy = put(tmp_path, "sys/class/powercap/intel-rapl:0/energy_uj", 9_000_000)
    put(tmp_path, "sys/class/powercap/intel-rapl:0/max_energy_range_uj", 10_000_000)
    put(tmp_path, "sys/class/powercap/intel-rapl:0:0/energy_uj", 1)  # a part of zone 0, not to be added to it
    sensors = Sensors(tmp_path)
    assert sensors.temperatures() == {"x86_pkg_temp": 51.5, "k10temp temp1": 60.2}
    assert sensors.clock_mhz() == 2500.0
    trace = SensorTrace(sensors, 10.0)
    trace.start()
    energy.write_text("2000000\n")  # the counter started over: 1 J to its end, 2 J since
    events.write_text("6\n")
    time.sleep(0.02)
    result = trace.stop()
    assert result["energy"]["source"].startswith("RAPL")
    assert result["energy"]["joules"] == pytest.approx(3.0, rel=0.1)
    assert result["thermal"] == {
        "celsius_start": 60.2,
        "celsius_max": 60.2,
        "clock_mhz_min": 2500.0,
        "clock_mhz_max": 2500.0,
        "throttled": True,
    }


def test_old_throttling_is_not_blamed_on_this_run(tmp_path: Path) -> None:
    put(tmp_path, "sys/devices/system/cpu/cpu0/thermal_throttle/core_throttle_count", 7)
    trace = SensorTrace(Sensors(tmp_path), 10.0)
    trace.start()
    assert trace.stop()["thermal"]["throttled"] is False


def test_jetson_takes_the_input_rail(tmp_path: Path) -> None:
    chip = "sys/bus/i2c/drivers/ina3221/1-0040/hwmon/hwmon2"
    for number, (label, millivolts, milliamperes) in enumerate(
        [("VDD_IN", 5000, 2000), ("VDD_CPU_GPU_CV", 5000, 800)], start=1
    ):
        put(tmp_path, f"{chip}/in{number}_label", label)
        put(tmp_path, f"{chip}/in{number}_input", millivolts)
        put(tmp_path, f"{chip}/curr{number}_input", milliamperes)
    sensors = Sensors(tmp_path)
    assert (sensors.power_source(), sensors.watts()) == ("INA3221 (VDD_IN)", 10.0)


PMIC = """  3V7_WL_SW_A current(0)=0.05000000A
     VDD_CORE_A current(7)=2.00000000A
  3V7_WL_SW_V volt(8)=3.70000000V
     VDD_CORE_V volt(15)=0.80000000V
     EXT5V_V volt(24)=5.10000000V
"""


def test_raspberry_pi(tmp_path: Path) -> None:
    answers = {"get_throttled": "throttled=0x50000\n", "pmic_read_adc": PMIC}
    sensors = Sensors(tmp_path, lambda command: answers[command[1]])
    assert sensors.watts() == pytest.approx(0.05 * 3.7 + 2.0 * 0.8)
    assert sensors.throttle_state() == 0x50000
    assert "PMIC" in (sensors.power_source() or "")
    assert not sensors.throttled_between([0x50000, 0x50000])  # it was, before this run
    assert sensors.throttled_between([0x50000, 0x50005])
    assert sensors.throttled_between([0x4, 0x4])
