"""Shared by the tests of the benchmark: measured results on the bundled model, and made-up ones."""

from __future__ import annotations

import copy
import json
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np

from voxtral_edge.bench import live, measures, report, runner

ROOT = Path(__file__).resolve().parents[2]
SCHEMA = json.loads((ROOT / "benchmarks" / "schema.json").read_text(encoding="utf-8"))


def check_schema(result: dict[str, Any]) -> None:
    """Fails unless `result`, as it would be read back from its file, is a valid document."""
    jsonschema.Draft202012Validator(SCHEMA).validate(json.loads(json.dumps(result)))


@cache
def _measured(**options: Any) -> dict[str, Any]:
    return report.document(runner.run_bench(runner.BenchOptions(**options)))


def measured(**options: Any) -> dict[str, Any]:
    """The document of a short run on the bundled model with one thread; same options, same run."""
    return copy.deepcopy(_measured(**{"seconds": 2.0, "warmup_s": 0.4, "threads": 1, **options}))


def made_up(step_ms: Any, **changes: Any) -> dict[str, Any]:
    """A live result whose step times are given; everything else is that of a real run. `changes` replace
    top-level values."""
    result = measured()
    values = np.asarray(step_ms, np.float64)
    result["samples"] = {
        "step_ms": list(values),
        **{f"{stage}_ms": list(values / 7) for stage in live.STAGES},
    }
    result["step_ms"] = measures.summary(values, full=True)
    result["stage_ms"] = {stage: measures.summary(values / 7) for stage in (*live.STAGES, "other")}
    result["runs"] = [{**result["runs"][0], "step_ms": measures.summary(values)}]
    result["interference"]["quiet"] = True
    return {**result, **changes}
