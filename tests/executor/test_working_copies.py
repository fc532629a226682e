"""Working copies by themselves: what is compared, kept aside and installed anew."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from executor.blobs import blob
from executor.workcopy import KEPT_ARCHIVES, KEPT_FILE_BYTES, WorkCopy, signature


def nothing_ignored(path: str) -> bool:
    return path.lower().startswith("param.json")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "release" / "check"
    (folder / "lib").mkdir(parents=True)
    (folder / "main.py").write_text("print(1)\n")
    (folder / "lib" / "a.py").write_text("a = 1\n")
    (folder / "link").symlink_to("lib/a.py")
    (folder / "folder-link").symlink_to("lib")
    (folder / "param.json").write_text("{}")
    return folder


@pytest.fixture
def copy(tmp_path: Path, source: Path) -> WorkCopy:
    made = WorkCopy(str(tmp_path / "state"), "app/check", nothing_ignored)
    made.refresh(str(source), signature(str(source)))
    return made


@pytest.mark.parametrize("content", [b"", b"text\n", b"\0\xff" * 700_000])
def test_a_blob_has_gits_name(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "file"
    path.write_bytes(content)
    done = subprocess.run(
        ["git", "hash-object", "--no-filters", str(path)],
        check=True,
        capture_output=True,
        text=True,
    )
    assert blob(str(path)) == done.stdout.strip()
    (tmp_path / "link").symlink_to("elsewhere")
    (tmp_path / "target").write_text("elsewhere")
    assert blob(str(tmp_path / "link")) == blob(str(tmp_path / "target"))
    assert blob(str(tmp_path)) == blob(str(tmp_path / "none")) == ""


def test_links_are_copied_as_links_and_a_sample_param_json_not_at_all(copy: WorkCopy) -> None:
    names = sorted(os.listdir(copy.folder))
    assert names == ["folder-link", "lib", "link", "main.py"]
    assert os.readlink(os.path.join(copy.folder, "folder-link")) == "lib"
    assert copy.added() == []


def test_a_plugin_inside_anothers_folder_has_a_copy_of_its_own(tmp_path: Path) -> None:
    folders = [
        WorkCopy(str(tmp_path), path, nothing_ignored).folder
        for path in ("app", "app/check", "app%2Fcheck", "x" * 300, "x" * 301)
    ]
    assert len(set(folders)) == 5
    assert all(os.path.dirname(folder) == str(tmp_path / "manifest") for folder in folders)
    assert all(len(os.path.basename(folder)) <= 200 for folder in folders)


@pytest.mark.parametrize("kind", ["changed", "missing", "folder", "link", "parent-link"])
def test_each_kind_of_drift_is_mended(
    tmp_path: Path, copy: WorkCopy, source: Path, kind: str
) -> None:
    target = Path(copy.folder, "lib", "a.py")
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "a.py").write_text("another's\n")
    if kind == "parent-link":
        target.unlink()
        target.parent.rmdir()
        target.parent.symlink_to(outside)
    else:
        target.unlink()
    if kind == "changed":
        target.write_text("a = 2\n")
    elif kind == "folder":
        (target / "deep").mkdir(parents=True)
        (target / "deep" / "file").write_text("x")
    elif kind == "link":
        target.symlink_to(outside / "a.py")
    said = "missing: lib/a.py" if kind == "missing" else "changed: lib/a.py"
    assert copy.drift(str(source)) == [said]
    assert target.read_text() == "a = 1\n" and not target.parent.is_symlink()
    assert (outside / "a.py").read_text() == "another's\n"
    assert copy.drift(str(source)) == []


def test_a_touched_file_is_no_drift_and_postextract_may_change_what_it_likes(
    copy: WorkCopy, source: Path
) -> None:
    main = Path(copy.folder, "main.py")
    os.utime(main, (1, 1))
    assert copy.drift(str(source)) == []
    main.write_text("print(2)\n")
    assert copy.extracted is None
    assert copy.set_extracted("make") == ["main.py"]
    assert copy.drift(str(source)) == [] and copy.extracted == "make"
    main.write_text("print(3)\n")
    assert copy.drift(str(source)) == ["changed: main.py"]
    assert main.read_text() == "print(1)\n" and copy.extracted is None


def test_what_is_kept_aside_is_bounded(
    tmp_path: Path, copy: WorkCopy, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    moments = iter(range(1_790_000_000, 1_790_001_000))
    monkeypatch.setattr("time.time", lambda: next(moments))
    for number in range(KEPT_ARCHIVES + 3):
        Path(copy.folder, "main.py").write_text(f"print({number + 2})\n")
        assert copy.drift(str(source)) == ["changed: main.py"]
    kept = tmp_path / "state" / "manifest.kept"
    assert len(list(kept.iterdir())) == KEPT_ARCHIVES
    texts = {path.read_text() for path in kept.glob("*/main.py")}
    assert "print(2)\n" not in texts and f"print({KEPT_ARCHIVES + 4})\n" in texts
    Path(copy.folder, "main.py").write_bytes(b"x" * (KEPT_FILE_BYTES + 1))
    assert copy.drift(str(source)) == ["changed: main.py"]
    assert len(list(kept.iterdir())) == KEPT_ARCHIVES


def test_a_new_release_removes_what_only_the_old_one_had(copy: WorkCopy, source: Path) -> None:
    Path(copy.folder, "own").write_text("the plugin's\n")
    (source / "main.py").unlink()
    (source / "new.py").write_text("print(4)\n")
    copy.refresh(str(source), signature(str(source)))
    assert sorted(os.listdir(copy.folder)) == ["folder-link", "lib", "link", "new.py", "own"]
    assert copy.added() == ["own"]
