"""A model's URI as a bundle on this machine."""

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from fulcrum.serving.bundle.bundle import FACTS, Bundle


@dataclass(frozen=True)
class ResolvedModel:
    """A model URI turned into a bundle on this machine."""

    bundle: Bundle
    name: str
    """Registered name; the bundle's own name for other URIs."""
    version: str
    """Registered version; the first part of the bundle's fingerprint for other URIs."""


def resolve(uri: str, tracking: str) -> ResolvedModel:
    """The bundle behind a URI, as `Registry.resolve` finds it.

    A local folder needs no store, and MLflow is not imported for it: that takes longer than to load
    what is in the folder.
    """
    with suppress(OSError):
        if holds_bundle(Path(uri)):
            return described(Path(uri))

    from fulcrum.serving.publishing.registry import Registry

    return Registry(tracking).resolve(uri)


def holds_bundle(folder: Path) -> bool:
    """Whether a folder is one that Fulcrum wrote a model into."""
    return (folder / FACTS).is_file()


def described(folder: Path) -> ResolvedModel:
    """A bundle that no registry names."""
    bundle = Bundle.load(folder)
    return ResolvedModel(bundle, bundle.name, bundle.fingerprint[:12])
