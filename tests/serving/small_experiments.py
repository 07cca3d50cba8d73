"""Experiments of the small models, and a registry that needs no MLflow."""

from dataclasses import dataclass, field

import anyio
import httpx

from fulcrum.features.errors import ModelError
from fulcrum.serving.bundle.bundle import Bundle
from fulcrum.serving.experiments.experiment import ExperimentConfig

CHAMPION, CHALLENGER = "models:/small@champion", "models:/small@challenger"


@dataclass(frozen=True)
class Resolved:
    bundle: Bundle
    name: str
    version: str


@dataclass
class Shelf:
    """Models by URI; moving an alias is putting another one there."""

    models: dict[str, Resolved] = field(default_factory=dict)
    loads: int = 0

    def put(self, uri, bundle, version="1"):
        self.models[uri] = Resolved(bundle, uri.removeprefix("models:/").split("@")[0], version)

    def version(self, uri):
        return self.models[uri].version

    def resolve(self, uri):
        if uri not in self.models:
            raise ModelError(f"{uri}: no such alias; did you mean `{CHAMPION}`?")
        self.loads += 1
        return self.models[uri]


def experiment(**changes):
    return ExperimentConfig.model_validate(
        {
            "name": "test",
            "unit": "user_id",
            "arms": {
                "control": {"share": 0.5, "models": CHAMPION},
                "treatment": {"share": 0.5, "models": CHALLENGER},
            },
            "outcomes": ["click", "seconds"],
            **changes,
        }
    )


class Visitor:
    """Calls an application without a socket."""

    def __init__(self, web):
        self.web = web

    def get(self, path):
        return self.send("GET", path)

    def post(self, path, **body):
        return self.send("POST", path, **body)

    def send(self, method, path, **body):
        async def visit():
            transport = httpx.ASGITransport(app=self.web, raise_app_exceptions=False)
            async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
                return await client.request(method, path, **body)

        return anyio.run(visit)
