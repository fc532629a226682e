"""Working copies by themselves: what is compared, kept aside and installed anew."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from executor.blobs import blob
from executor.keptfiles import KEPT_ARCHIVES, KEPT_BYTES, KEPT_FILE_BYTES, KEPT_FILES
from executor.workcopy import UNBOUND_SECONDS, LinkRefused, WorkCopy, forget_params, tidy


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
    made = copy_of(tmp_path, "check")
    made.refresh()
    return made


def copy_of(tmp_path: Path, path: str) -> WorkCopy:
    return WorkCopy(str(tmp_path / "state"), str(tmp_path / "release"), path, nothing_ignored)


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
        copy_of(tmp_path, path).folder
        for path in (".", "app", "app/check", "app%2Fcheck", "%2E", "x" * 300, "x" * 301)
    ]
    assert len(set(folders)) == 7
    assert all(
        os.path.dirname(folder) == str(tmp_path / "state" / "manifest") for folder in folders
    )
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
    assert copy.mend() == [said]
    assert target.read_text() == "a = 1\n" and not target.parent.is_symlink()
    assert (outside / "a.py").read_text() == "another's\n"
    assert copy.mend() == []


def test_a_touched_file_is_no_drift_and_postextract_may_change_what_it_likes(
    copy: WorkCopy, source: Path
) -> None:
    main = Path(copy.folder, "main.py")
    os.utime(main, (1, 1))
    assert copy.mend() == []
    main.write_text("print(2)\n")
    assert copy.head.extracted == ""
    assert copy.set_extracted("make", "held") == ["main.py"]
    assert copy.mend() == [] and copy.head.extracted == "make"
    main.write_text("print(3)\n")
    assert copy.mend() == ["changed: main.py"]
    assert main.read_text() == "print(1)\n" and copy.head.extracted == ""


def test_what_is_kept_aside_is_bounded(
    tmp_path: Path, copy: WorkCopy, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    moments = iter(range(1_790_000_000, 1_790_001_000))
    monkeypatch.setattr("time.time", lambda: next(moments))
    for number in range(KEPT_ARCHIVES + 3):
        Path(copy.folder, "main.py").write_text(f"print({number + 2})\n")
        assert copy.mend() == ["changed: main.py"]
    kept = tmp_path / "state" / "manifest.kept"
    assert len(list(kept.iterdir())) == KEPT_ARCHIVES
    texts = {path.read_text() for path in kept.glob("*/main.py")}
    assert "print(2)\n" not in texts and f"print({KEPT_ARCHIVES + 4})\n" in texts
    Path(copy.folder, "main.py").write_bytes(b"x" * (KEPT_FILE_BYTES + 1))
    assert copy.mend() == ["changed: main.py"]
    assert len(list(kept.iterdir())) == KEPT_ARCHIVES


def test_param_json_is_written_where_it_is_not_what_it_should_be(copy: WorkCopy) -> None:
    params = Path(copy.folder, "param.json")

    def inode_after(change: Callable[[], object] | None) -> int:
        if change is not None:
            change()
        copy.write_params('{"a": 1}')
        assert (params.read_text(), stat.S_IMODE(params.stat().st_mode)) == ('{"a": 1}', 0o600)
        assert not params.is_symlink()
        return params.stat().st_ino

    first = inode_after(None)
    assert inode_after(None) == first

    def link() -> None:
        params.rename(params.with_name("elsewhere"))
        params.symlink_to("elsewhere")

    for change in (lambda: params.write_text("{}"), lambda: params.chmod(0o644), link):
        before = params.stat().st_ino
        assert inode_after(change) != before


def test_a_new_release_removes_what_only_the_old_one_had(copy: WorkCopy, source: Path) -> None:
    Path(copy.folder, "own").write_text("the plugin's\n")
    (source / "main.py").unlink()
    (source / "new.py").write_text("print(4)\n")
    copy.refresh()
    assert sorted(os.listdir(copy.folder)) == ["folder-link", "lib", "link", "new.py", "own"]
    assert copy.added() == ["own"]


def test_an_archive_and_all_together_are_bounded_in_files_and_bytes(
    tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    moments = iter(range(1_790_000_000, 1_790_001_000))
    monkeypatch.setattr("time.time", lambda: next(moments))
    monkeypatch.setattr("executor.keptfiles.KEPT_FILES", 4)
    monkeypatch.setattr("executor.keptfiles.KEPT_BYTES", 2500)
    names = [f"{number}.py" for number in range(6)]
    for name in names:
        (source / name).write_text("")
    copy = copy_of(tmp_path, "check")
    copy.refresh()
    kept = tmp_path / "state" / "manifest.kept"

    def files_kept(size: int) -> list[int]:
        """How many each archive holds, after one more drift of all files."""
        for name in names:
            Path(copy.folder, name).write_bytes(b"x" * size)
        assert len(copy.mend()) == len(names)
        return sorted(len(list(archive.iterdir())) for archive in kept.iterdir())

    assert files_kept(1000) == [2]
    assert files_kept(1) == [2, 4]
    assert files_kept(200) == [4, 4]
    assert KEPT_FILES * KEPT_FILE_BYTES > KEPT_BYTES


def test_the_tree_itself_as_a_plugin_leaves_the_others_and_their_secrets_alone(
    tmp_path: Path, source: Path
) -> None:
    tree = source.parent
    (source / "plugin.json").write_text("{}")
    (tree / "plugin.json").write_text("{}")
    (tree / "data").mkdir()
    (tree / "data" / "param.json").write_text("data of this name")
    inner = copy_of(tmp_path, "check")
    inner.refresh()
    inner.write_params('{"password": "live"}')
    whole = copy_of(tmp_path, ".")
    whole.refresh()
    assert Path(inner.folder, "param.json").read_text() == '{"password": "live"}'
    held = sorted(
        str(path.relative_to(whole.folder)) for path in Path(whole.folder).rglob("*.json")
    )
    assert held == ["check/plugin.json", "data/param.json", "plugin.json"]


def test_links_to_elsewhere_in_the_tree_become_what_they_lead_to(
    tmp_path: Path, source: Path
) -> None:
    common = source.parent / "common"
    (common / "deep").mkdir(parents=True)
    (common / "lib.sh").write_text("say() { :; }\n")
    (common / "deep" / "b.sh").write_text("b\n")
    (common / "deep" / "c.sh").symlink_to("b.sh")
    (source / "lib.sh").symlink_to("../common/lib.sh")
    (source / "more").symlink_to("../common/deep")
    (source / "absolute.sh").symlink_to(common / "lib.sh")
    (source / "dangling").symlink_to("nowhere")
    copy = copy_of(tmp_path, "check")
    code = copy.refresh()
    found = {
        name: Path(copy.folder, name).read_text()
        for name in ("lib.sh", "more/b.sh", "more/c.sh", "absolute.sh")
    }
    assert found == {
        "lib.sh": "say() { :; }\n", "more/b.sh": "b\n", "more/c.sh": "b\n",
        "absolute.sh": "say() { :; }\n",
    }  # fmt: skip
    links = [path.name for path in Path(copy.folder).rglob("*") if path.is_symlink()]
    assert sorted(links) == ["dangling", "folder-link", "link"]
    # What they lead to is the plugin's code: drift is mended from there, a change of it is one.
    Path(copy.folder, "lib.sh").unlink()
    assert copy.mend() == ["missing: lib.sh"]
    (common / "lib.sh").write_text("changed\n")
    assert copy.refresh() != code
    assert Path(copy.folder, "lib.sh").read_text() == "changed\n"


@pytest.mark.parametrize(
    "target", ["/etc/hostname", "../../elsewhere", "..", "../../release", "../common/loop"]
)
def test_links_that_leave_the_tree_or_go_in_circles_are_refused(
    tmp_path: Path, source: Path, target: str
) -> None:
    (tmp_path / "elsewhere").write_text("x")
    (source.parent / "common" / "loop").mkdir(parents=True)
    (source.parent / "common" / "loop" / "again").symlink_to("../loop")
    (source / "out").symlink_to(target)
    with pytest.raises(LinkRefused, match=r"the link out(/again)? -> .* leads out of the plugin"):
        copy_of(tmp_path, "check").refresh()


def test_a_new_release_removes_nothing_behind_a_link(
    tmp_path: Path, copy: WorkCopy, source: Path
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "a.py").write_text("precious\n")
    shutil.rmtree(os.path.join(copy.folder, "lib"))
    os.symlink(outside, os.path.join(copy.folder, "lib"))
    (source / "lib" / "a.py").write_text("a = 22\n")
    copy.refresh()
    assert (outside / "a.py").read_text() == "precious\n"
    assert Path(copy.folder, "lib", "a.py").read_text() == "a = 22\n"


def test_what_is_bound_no_more_loses_its_secrets_at_once_and_its_copy_after_a_week(
    tmp_path: Path, copy: WorkCopy
) -> None:
    state = str(tmp_path / "state")
    record = tmp_path / "state" / "manifest.records" / "check"
    copy.write_params("{}")
    params = Path(copy.folder, "param.json")
    assert tidy(state, ["check"]) == [] and params.exists()
    os.utime(record, (0, 0))  # the executor was dead for years
    assert tidy(state, []) == [] and not params.exists()
    assert tidy(state, []) == [] and os.path.isdir(copy.folder)
    copy.write_params("{}")
    forget_params(state, "check")
    assert not params.exists()
    then = time.time() - UNBOUND_SECONDS - 60
    os.utime(record, (then, then))
    assert tidy(state, ["check"]) == [] and os.path.isdir(copy.folder)
    assert tidy(state, ["other"]) == ["check"]
    assert not os.path.exists(copy.folder) and not record.exists()


def test_a_copy_job_that_was_killed_in_the_middle_is_done_anew(
    copy: WorkCopy, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (source / "z.py").write_text("z\n")
    (source / "main.py").write_text("print(2)\n")
    monkeypatch.setattr("executor.workrecord.Record.write", _killed)
    with pytest.raises(KeyboardInterrupt):
        copy.refresh()
    monkeypatch.undo()
    (source / "z.py").unlink()
    copy.refresh()
    assert Path(copy.folder, "main.py").read_text() == "print(2)\n"
    assert copy.mend() == []


def _killed(_record: object) -> None:
    raise KeyboardInterrupt
