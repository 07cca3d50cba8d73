from importlib.metadata import PackageNotFoundError

import pytest

from fulcrum.pipelines import doctor
from fulcrum.pipelines.tracking.mlflow import start_run


def findings(uri, workspace):
    return {(f.name, f.status): f for f in doctor.examine(uri, workspace)}


def test_this_machine_is_sound(tmp_path):
    found = findings(f"sqlite:///{tmp_path}/new.db", tmp_path)
    assert [name for name, status in found if status == "fail"] == []
    assert "torch 2.13.0" in found["torch, torchrec, fbgemm", "ok"].detail
    assert "CPUExecutionProvider" in found["ONNX Runtime", "ok"].detail
    assert "Azure" not in found["ONNX Runtime", "ok"].detail


def test_looking_at_a_store_does_not_make_one(tmp_path):
    found = findings(f"sqlite:///{tmp_path}/new.db", tmp_path)
    assert "will be made" in found["MLflow store", "ok"].detail
    assert list(tmp_path.iterdir()) == []


def test_an_existing_store_is_written_to(tmp_path):
    uri = f"sqlite:///{tmp_path}/s.db"
    start_run(uri, "e", "r")
    assert "can be written" in findings(uri, tmp_path)["MLflow store", "ok"].detail


def test_a_file_that_is_no_store_fails(tmp_path):
    (tmp_path / "s.db").write_text("hello")
    found = findings(f"sqlite:///{tmp_path}/s.db", tmp_path)["MLflow store", "fail"]
    assert "tracking.uri" in found.fix


@pytest.mark.parametrize(
    ("installed", "said"),
    [
        ({"torchrec": "1.9.0"}, "torchrec 1.9.0, expected 1.8.0"),
        ({"torchrec": None}, "torchrec missing"),
        ({"fbgemm-gpu": "1.8.0", "fbgemm-gpu-cpu": "1.8.0"}, "both installed"),
        ({"fbgemm-gpu": None, "fbgemm-gpu-cpu": None}, "fbgemm-gpu missing"),
    ],
)
def test_a_broken_triple_fails_with_the_fix(monkeypatch, tmp_path, installed, said):
    real = doctor.version

    def version(package):
        if package in installed and installed[package] is None:
            raise PackageNotFoundError(package)
        return installed.get(package) or real(package)

    monkeypatch.setattr(doctor, "version", version)
    found = findings(f"sqlite:///{tmp_path}/s.db", tmp_path)["torch, torchrec, fbgemm", "fail"]
    assert said in found.detail
    assert "make setup" in found.fix


def test_a_check_that_breaks_is_a_failure_and_the_others_go_on(monkeypatch, tmp_path):
    def broken():
        raise OSError("libcudart.so.13: cannot open shared object file")

    monkeypatch.setattr(doctor, "_look_up", broken)
    found = findings(f"sqlite:///{tmp_path}/s.db", tmp_path)
    assert "libcudart" in found["torch, torchrec, fbgemm", "fail"].detail
    assert ("disk", "ok") in found or ("disk", "warn") in found


def test_a_full_disk_fails(monkeypatch, tmp_path):
    usage = doctor.shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda _: usage)
    assert "0.0 GiB" in findings("http://127.0.0.1:9", tmp_path)["disk", "fail"].detail
