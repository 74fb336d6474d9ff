"""Colab's first cell: the course of the tag, of the branch until there is one, or one line where it is offline."""

import os
import sys
import types

import pytest

from project import repository

PIP = """#!/bin/sh
echo "$@" >> "{log}"
echo "ERROR: 99 lines of pip" >&2
case "$*" in {works}) exit 0;; *) exit 1;; esac
"""


def installed(works, tmp_path, monkeypatch, capfd):
    """What the cell asks pip for, and what it prints, where pip succeeds with this pattern only."""
    interactive = pytest.importorskip("IPython.core.interactiveshell")
    log, fake = tmp_path / "log", tmp_path / "pip"
    log.touch()
    fake.write_text(PIP.format(log=log, works=works))
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setitem(sys.modules, "google.colab", types.ModuleType("google.colab"))
    result = interactive.InteractiveShell().run_cell(repository.first_cell())
    assert result.success
    return log.read_text().splitlines(), capfd.readouterr()


def test_with_the_tag_it_installs_the_tag(tmp_path, monkeypatch, capfd):
    asked, said = installed(f"*@v{repository.VERSION}", tmp_path, monkeypatch, capfd)
    assert len(asked) == 1 and asked[0].endswith(f"{repository.URL}@v{repository.VERSION}")
    assert "--no-deps" in asked[0] and all(one in asked[0] for one in repository.NETWORKS)
    assert said.out + said.err == ""


def test_without_the_tag_it_installs_the_branch(tmp_path, monkeypatch, capfd):
    asked, said = installed(f"*@{repository.BRANCH}", tmp_path, monkeypatch, capfd)
    assert len(asked) == 2 and asked[1].endswith(f"{repository.URL}@{repository.BRANCH}")
    assert said.out + said.err == ""


def test_offline_it_says_so_in_one_line(tmp_path, monkeypatch, capfd):
    asked, said = installed("never", tmp_path, monkeypatch, capfd)
    assert len(asked) == 2
    assert (said.out + said.err).strip() == repository.OFFLINE


def test_elsewhere_it_does_nothing(tmp_path, monkeypatch, capfd):
    monkeypatch.delitem(sys.modules, "google.colab", raising=False)
    exec(compile(repository.first_cell().split("    pip =")[0] + "    pass", "first cell", "exec"), {})
    assert capfd.readouterr().out == ""
