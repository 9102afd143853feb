"""The demo's data: the published bytes, or one clear line."""

import logging
import shutil
import subprocess
import zipfile
from pathlib import Path

import pytest

from pipeline import demo_data
from pipeline.errors import ContractError, UserError


@pytest.fixture
def published(monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """Three small files in place of the real ones."""
    contents = {name: f"{name}\n".encode() for name in demo_data.SHA256}
    digests = {name: demo_data._sha256(content) for name, content in contents.items()}
    monkeypatch.setattr(demo_data, "SHA256", digests)
    return contents


def make_wheel(folder: Path, contents: dict[str, bytes]) -> Path:
    wheel = folder / "recbole-1.2.1-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr(demo_data.INSIDE + "ml-100k.kg", "not wanted")
        for name, content in contents.items():
            archive.writestr(demo_data.INSIDE + name, content)
    return wheel


def test_exactly_the_pinned_files_are_unpacked(published: dict[str, bytes], tmp_path: Path) -> None:
    folder = tmp_path / "data"
    demo_data.unpack(make_wheel(tmp_path, published), folder)
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == published


def test_wrong_bytes_are_refused_and_nothing_is_written(
    published: dict[str, bytes], tmp_path: Path
) -> None:
    wheel = make_wheel(tmp_path, published | {"ml-100k.user": b"other"})
    with pytest.raises(ContractError, match=r"ml-100k\.user: SHA-256 is \w{64}, wanted \w{64}$"):
        demo_data.unpack(wheel, tmp_path / "data")
    assert not (tmp_path / "data").exists()


def test_a_wheel_without_the_files_is_refused(published: dict[str, bytes], tmp_path: Path) -> None:
    del published["ml-100k.item"]
    with pytest.raises(ContractError, match=r"not the wheel of recbole.*ml-100k\.item"):
        demo_data.unpack(make_wheel(tmp_path, published), tmp_path / "data")


def test_what_is_no_wheel_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.whl").write_bytes(b"<html>sign in</html>")
    with pytest.raises(ContractError, match=r"x\.whl: not the wheel of recbole==1\.2\.1"):
        demo_data.unpack(tmp_path / "x.whl", tmp_path / "data")


def test_a_failed_download_is_one_clear_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    errors = "WARNING: retrying\nERROR: No matching distribution found for recbole==1.2.1\n"
    failed = subprocess.CompletedProcess([], 1, stdout="", stderr=errors)
    monkeypatch.setattr(demo_data.subprocess, "run", lambda *_, **__: failed)
    with pytest.raises(UserError, match=r"could not be fetched .* No matching distribution") as e:
        demo_data.fetch(tmp_path / "data")
    assert "\n" not in str(e.value)


def test_the_real_files_are_fetched_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    demo_data.fetch(tmp_path)
    assert (tmp_path / "ml-100k.inter").read_text().count("\n") == 100_001
    monkeypatch.setattr(demo_data, "_download", lambda into: pytest.fail("downloaded again"))
    with caplog.at_level(logging.INFO, logger="iadsr"):
        demo_data.fetch(tmp_path)
    assert "already" in caplog.text


def test_a_damaged_file_is_replaced(
    published: dict[str, bytes], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    wheel = make_wheel(tmp_path, published)
    folder = tmp_path / "data"
    monkeypatch.setattr(demo_data, "_download", lambda into: shutil.copy(wheel, into / wheel.name))
    demo_data.fetch(folder)
    (folder / "ml-100k.item").write_bytes(b"cut sh")
    demo_data.fetch(folder)
    assert (folder / "ml-100k.item").read_bytes() == published["ml-100k.item"]
