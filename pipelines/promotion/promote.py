"""The one way by which a version becomes `@champion`: judge it, write down why, move the alias.

The alias moves last. Killed before, a promotion leaves a version that says what the gate found and
no other champion; the same command then does the same again.
"""

import fcntl
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from fulcrum.features.errors import FulcrumError, ResourceError, StateError
from fulcrum.features.prepared.dataset import PreparedDataset
from fulcrum.features.staging import full_disk, staged
from fulcrum.pipelines.config.run import RunConfig
from fulcrum.pipelines.promotion import page
from fulcrum.pipelines.promotion.evidence import Evidence, gather
from fulcrum.pipelines.promotion.rules import Finding, judge
from fulcrum.pipelines.runs.kept_config import kept_config
from fulcrum.pipelines.runs.prepare import prepare_dataset
from fulcrum.pipelines.runs.register import CANDIDATE, CHAMPION
from fulcrum.pipelines.tracking.mlflow import DATA, FoundRun, MlflowTracker, find_run
from fulcrum.serving.publishing.registry import Registry

logger = logging.getLogger(__name__)

GATE, REASONS = "fulcrum.gate", "fulcrum.gate.reasons"
AGAINST, FORCE = "fulcrum.gate.against", "fulcrum.gate.force"
"""Tags of a version: `passed`, `refused` or `forced`; the rules that do not hold;
what it was measured against; why it was forced."""


@dataclass(frozen=True)
class Candidate:
    """A version that may become champion, and where it comes from."""

    registry: Registry
    name: str
    version: int
    run: FoundRun
    config: RunConfig

    @classmethod
    def find(cls, registry: Registry, name: str, version: int | None) -> "Candidate":
        """The version with the alias `candidate`, when left out."""
        if version is None:
            version = int(registry.version(f"models:/{name}@{CANDIDATE}"))
        run = find_run(registry.uri, registry.run(name, version))
        return cls(registry, name, version, run, kept_config(run))

    @property
    def tracker(self) -> MlflowTracker:
        """Of its run."""
        return MlflowTracker(self.registry.uri, self.run.id)


@dataclass(frozen=True)
class Promotion:
    """What became of a version."""

    name: str
    version: int
    promoted: bool
    """Whether it is the champion now."""
    said: str
    """In one sentence."""
    findings: tuple[Finding, ...] = ()
    """None for a version that was the champion before."""


def promote(
    uri: str, name: str, console: Console, *, version: int | None = None, force: str | None = None
) -> Promotion:
    """Judge a version of a registered model, its candidate when left out, and make it champion if
    every rule holds, or by `force`, which says why.

    Raises ModelError where there is no such version, StateError where its prepared data are gone
    and cannot be made again; both become a rule that does not hold when it is forced.
    """
    registry = Registry(uri)
    candidate = Candidate.find(registry, name, version)
    version = candidate.version
    with _alone(Path(candidate.config.workspace), name):
        previous = registry.aliased(name, CHAMPION)
        if previous == version:
            registry.set_alias(name, CHAMPION, version)  # its record may be missing
            return Promotion(name, version, True, f"Version {version} is the champion already.")
        against = None if previous is None else str(previous)
        evidence, findings = _judge(candidate, against, console, force is not None)
        broken = [finding.rule for finding in findings if not finding.holds]
        promoted = not broken or force is not None
        said = page.headline(broken, against, force)
        whole = page.text(said, findings, evidence)
        _keep(candidate, whole, findings, evidence)
        tags = {
            GATE: "passed" if not broken else "forced" if promoted else "refused",
            REASONS: ", ".join(broken),
            AGAINST: page.opponent(against),
            FORCE: force if force is not None and broken else "",
        }
        registry.describe(name, version, page.HEADING, page.short(whole), tags)
        if promoted:
            if registry.aliased(name, CHAMPION) != previous:
                raise ResourceError(
                    f"models:/{name}@{CHAMPION} was moved while version {version} was measured "
                    "against it; run the same command again"
                )
            registry.set_alias(name, CHAMPION, version)
    return Promotion(name, version, promoted, said, tuple(findings))


def _judge(
    candidate: Candidate, champion: str | None, console: Console, forced: bool
) -> tuple[Evidence | None, list[Finding]]:
    try:
        evidence = _measure(candidate, champion, console)
    except FulcrumError as error:
        if not forced:
            raise
        return None, [Finding("evidence", str(error), "rows to measure it on", False)]
    return evidence, judge(evidence, candidate.config.promotion)


def _measure(candidate: Candidate, champion: str | None, console: Console) -> Evidence:
    registry, name = candidate.registry, candidate.name
    bundle = registry.resolve(f"models:/{name}/{candidate.version}").bundle
    dataset = _prepared(candidate, console)
    if dataset.state.fingerprint != bundle.state.fingerprint:
        raise StateError(
            f"version {candidate.version} was made of prepared data {bundle.state.fingerprint}, "
            f"these are {dataset.state.fingerprint}: its log has changed; train it anew"
        )
    present = None if champion is None else registry.resolve(f"models:/{name}/{champion}")
    logger.info("measuring version %d of %s as it would be served", candidate.version, name)
    return gather(candidate.config, dataset, bundle, present)


def _prepared(candidate: Candidate, console: Console) -> PreparedDataset:
    """The data set that the run was made of, also when the log has grown since."""
    made = Path(candidate.config.workspace, "prepared", str(candidate.tracker.tag(DATA)))
    return (
        PreparedDataset.open(made) if made.exists() else prepare_dataset(candidate.config, console)
    )


def _keep(
    candidate: Candidate, whole: str, findings: list[Finding], evidence: Evidence | None
) -> None:
    """The reasons as files of the run, in its folder and in MLflow."""
    target = candidate.run.folder / "promotion"
    title = f"{candidate.name} {candidate.version}"
    with staged(target, replace=True) as folder:
        page.write(folder, title, whole, findings, evidence, candidate.config.promotion.tolerance)
    for file in sorted(target.iterdir()):
        candidate.tracker.log_artifact(file, target.name)


@contextmanager
def _alone(workspace: Path, name: str) -> Iterator[None]:
    """One promotion of a model at a time; the next one meets the champion that this one leaves.

    A lock of this machine, which dies with its process; that nobody else has moved the alias is
    looked at again before it moves."""
    with full_disk(workspace):
        (workspace / "promotion").mkdir(parents=True, exist_ok=True)
        lock = (workspace / "promotion" / f"{name}.lock").open("w")
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
