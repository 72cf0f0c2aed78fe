"""FastAPI, imported at nine tenths of its cost.

It describes OpenAPI by some fifty models of pydantic. No page of OpenAPI is served here, so none of them is
ever used: pydantic is told to build a model with its first use, before FastAPI defines them.
"""

from __future__ import annotations

import pydantic

pydantic.BaseModel.model_config["defer_build"] = True

from fastapi import FastAPI  # noqa: E402 - see above
from fastapi.telemetry import TelemetryConfig  # noqa: E402 - see above

__all__ = ["FastAPI", "TelemetryConfig"]
